#include "coordinator/white_space.h"

#include <unicode/uchar.h>

#include "coordinator/code_points.h"

namespace limn {

bool is_white_space(char32_t character) {
  // Of ICU's four notions of white space the one that equals Python's on every code point.
  return u_isspace(static_cast<UChar32>(character));
}

std::string_view without_leading_white_space(std::string_view text) {
  std::size_t begin = 0;
  while (begin < text.size()) {
    std::size_t end = begin;
    if (!is_white_space(next_code_point(text, end))) break;
    begin = end;
  }
  return text.substr(begin);
}

std::string_view without_trailing_white_space(std::string_view text) {
  std::size_t end = text.size();
  while (end > 0) {
    std::size_t begin = end;
    if (!is_white_space(previous_code_point(text, begin))) break;
    end = begin;
  }
  return text.substr(0, end);
}

CharRange trimmed(std::u32string_view text, CharRange range) {
  while (range.begin < range.end && is_white_space(text[range.begin]))
    ++range.begin;
  while (range.begin < range.end && is_white_space(text[range.end - 1]))
    --range.end;
  return range;
}

}  // namespace limn
