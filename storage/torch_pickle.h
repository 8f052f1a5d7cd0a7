// The pickle inside a torch archive, read as data: nothing that it names is ever run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace limn {

// A tensor as a view of a storage, a run of elements that lies outside the pickle.
struct PickledTensor {
  std::string name;
  std::string dtype;    // torch's word: "float32"
  std::string storage;  // the key of the storage
  // In elements and at least 0; whether they stay inside the storage is not checked here.
  std::int64_t storage_offset = 0;
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> strides;  // as many as extents in `shape`
};

// The tensors of a state dict that torch.save wrote with pickle protocol 2 to 5: the values of the
// outermost dict that are tensors and have a text as key. Everything else in there is passed over.
// Throws DataError, beginning with `where`, when the pickle is damaged or is no dict of tensors,
// and when it asks for anything to be run that is not how torch describes tensors.
std::vector<PickledTensor> read_state_dict(
    std::span<const std::byte> pickle, const std::string& where);

}  // namespace limn
