// The tensors of a safetensors file, bound-checked in place.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "storage/stored_tensor.h"

namespace limn {

// Checks the header: offsets inside the file, sizes equal to shape times element, no overlap, no
// hole, no name twice. The tensors' bytes are not read. A tensor of a type that is not in
// StoredDtype becomes a refusal. Throws DataError, beginning with `where`, when the file is damaged
// or truncated. The tensors borrow the file.
std::vector<FileTensor> read_safetensors(std::span<const std::byte> file, const std::string& where);

}  // namespace limn
