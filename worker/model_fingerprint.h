// Which model a run explains.
#pragma once

#include <string>

#include "storage/checkpoint.h"

namespace limn {

// Of config.json, tokenizer.json (or where there is none, tokenizer.model and
// tokenizer_config.json, as far as there are) and the names, element types and shapes of all
// tensors: what can be read in a moment however large the weights are. Throws IoError; DataError
// when a tensor's element type is not one of StoredDtype.
std::string model_fingerprint(const Checkpoint& checkpoint);

// Of the names and sizes of the files that the tensors are read from: not of their times, nor of
// their values, which would take as long to read as the model. Throws nothing.
std::string weights_fingerprint(const Checkpoint& checkpoint);

}  // namespace limn
