// A tensor as the files of a checkpoint hold it, whatever their format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace limn {

// The element types that limn reads.
enum class StoredDtype { Float64, Float32, Bfloat16, Float16, Int64, Int32, Uint8, Bool };

std::int64_t element_bytes(StoredDtype dtype);

// Bytes of a tensor, or nothing when that is more than memory can ever hold. Requires: extents of
// at least 0.
std::optional<std::int64_t> tensor_bytes(std::span<const std::int64_t> shape, StoredDtype dtype);

// Row-major. Borrows: the Checkpoint.
struct StoredTensor {
  StoredDtype dtype;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;
};

// What a reader found under a name of a mapped file. Its bytes lie in the mapping or, when the file
// has them in another order, in `rearranged`, whose allocation a move keeps.
struct FileTensor {
  std::string name;
  std::optional<StoredTensor> tensor;
  std::string refusal;  // without a tensor: the message for who asks for it
  std::vector<std::byte> rearranged;
};

}  // namespace limn
