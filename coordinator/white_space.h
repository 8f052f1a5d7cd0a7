// White space as Python's str.isspace() has it: what str.strip() takes away.
#pragma once

#include <string_view>

#include "storage/sample_record.h"

namespace limn {

bool is_white_space(char32_t character);

// `text` without the white space at its start. Requires: `text` is valid UTF-8.
std::string_view without_leading_white_space(std::string_view text);

// `text` without the white space at its end. Requires: `text` is valid UTF-8.
std::string_view without_trailing_white_space(std::string_view text);

// The range of `text` without the white space at its ends; empty if it is white space alone.
// Requires: the range lies in `text`.
CharRange trimmed(std::u32string_view text, CharRange range);

}  // namespace limn
