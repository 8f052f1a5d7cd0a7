// White space as Python's str.isspace() has it: what str.strip() takes away.
#pragma once

#include <string_view>

namespace limn {

bool is_white_space(char32_t character);

// `text` without the white space at its end. Requires: `text` is valid UTF-8.
std::string_view without_trailing_white_space(std::string_view text);

}  // namespace limn
