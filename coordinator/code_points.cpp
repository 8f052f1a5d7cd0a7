#include "coordinator/code_points.h"

#include <algorithm>

#include <unicode/utf8.h>

#include "storage/error.h"

namespace limn {

std::vector<std::int64_t> code_point_offsets(std::string_view text) {
  std::vector<std::int64_t> offsets;
  const auto size = static_cast<std::int64_t>(text.size());
  for (std::int64_t i = 0; i < size;) {
    offsets.push_back(i);
    UChar32 c;
    U8_NEXT(text.data(), i, size, c);
    if (c < 0) throw DataError(fmt::format("not UTF-8: {}", offsets.back()));
  }
  offsets.push_back(size);
  return offsets;
}

std::u32string code_points(std::string_view text) {
  std::u32string points;
  for (std::size_t i = 0; i < text.size();)
    points.push_back(next_code_point(text, i));
  return points;
}

void append_code_point(std::string& text, char32_t code_point) {
  char encoded[U8_MAX_LENGTH];
  std::size_t size = 0;
  U8_APPEND_UNSAFE(encoded, size, code_point);
  text.append(encoded, size);
}

}  // namespace limn
