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
  for (std::size_t i = 0; i < text.size();) {
    UChar32 point = 0;
    U8_NEXT_UNSAFE(text.data(), i, point);
    points.push_back(static_cast<char32_t>(point));
  }
  return points;
}

std::int32_t num_code_points(std::string_view text) {
  return static_cast<std::int32_t>(
      std::ranges::count_if(text, [](char byte) { return !U8_IS_TRAIL(byte); }));
}

}  // namespace limn
