// The tensors of a file that torch.save wrote since torch 1.6: a zip archive with a pickle.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "storage/stored_tensor.h"

namespace limn {

// Nothing is run: the pickle is read as data. Row-major tensors stay where they are; others (the
// transposed, mostly) are rearranged. A tensor of a type that is not in StoredDtype becomes a
// refusal, and so does one that has more elements than its storage (an expanded one). Throws
// DataError, beginning with `where`, when the file is damaged or truncated, older than torch 1.6,
// or holds more than a state dict of tensors. The tensors borrow the file.
std::vector<FileTensor> read_torch_archive(
    std::span<const std::byte> file, const std::string& where);

}  // namespace limn
