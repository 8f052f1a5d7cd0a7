// The tensors of a Hugging Face checkpoint folder, mapped and bound-checked, never copied.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "storage/mapped_file.h"

namespace limn {

// The element types of safetensors that limn reads.
enum class StoredDtype { Float64, Float32, Bfloat16, Float16, Int64, Int32, Uint8, Bool };

std::int64_t element_bytes(StoredDtype dtype);

// A tensor inside a mapped file, row-major. Borrows: the Checkpoint.
struct StoredTensor {
  StoredDtype dtype;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;
};

// Threads: immutable.
class Checkpoint {
 public:
  // Maps model.safetensors, or all files named by model.safetensors.index.json, and checks every
  // header: offsets inside the file, sizes equal to shape times element, no overlap, no hole, no
  // name twice. The tensors' bytes are not read. Throws IoError when the folder or a file is
  // missing, DataError when one is damaged or truncated.
  explicit Checkpoint(const std::filesystem::path& folder);

  // Null when there is no tensor of that name. Throws DataError when its element type is not one of
  // StoredDtype: such a tensor harms nobody who does not ask for it.
  const StoredTensor* find(std::string_view name) const;

  // All names, sorted.
  std::vector<std::string> names() const;

  const std::filesystem::path& folder() const { return folder_; }

 private:
  void add_file(const std::string& file, MappedFile mapped);
  void check_is_in(const std::string& name, const std::string& file) const;

  std::filesystem::path folder_;
  std::vector<MappedFile> files_;
  std::map<std::string, StoredTensor, std::less<>> tensors_;
  std::map<std::string, std::string> file_of_;  // every tensor's
  // Name -> why find() refuses it.
  std::map<std::string, std::string, std::less<>> unreadable_;
};

}  // namespace limn
