// What a model makes of a word.
#pragma once

#include <cstdint>

#include "coordinator/pieced_text.h"

namespace limn {

// A token and the bytes of the word that it stands for. Tokens may share them: those of the bytes
// of a character that Unigram does not know have the whole character each.
struct WordToken {
  std::int32_t id = 0;
  ByteRange bytes;
};

}  // namespace limn
