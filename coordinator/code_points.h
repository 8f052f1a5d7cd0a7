// Unicode code points of UTF-8 text: limn's formats count characters as Python does.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace limn {

// The byte offset of every code point of `text`, and of its end: one more entry than code points.
// Throws DataError naming the first bad byte's offset when `text` is not valid UTF-8.
std::vector<std::int64_t> code_point_offsets(std::string_view text);

// The code points of `text`. Requires: it is valid UTF-8.
std::u32string code_points(std::string_view text);

// The bytes of the code point that begins with `first`. Requires: valid UTF-8.
constexpr std::size_t code_point_size(char first) {
  const auto byte = static_cast<unsigned char>(first);
  if (byte < 0x80) return 1;
  if (byte < 0xE0) return 2;
  return byte < 0xF0 ? 3 : 4;
}

constexpr bool begins_code_point(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0) != 0x80;
}

// Requires: valid UTF-8.
inline std::int32_t num_code_points(std::string_view text) {
  return static_cast<std::int32_t>(std::count_if(text.begin(), text.end(), begins_code_point));
}

// The code point at `position`, which moves behind it. Requires: valid UTF-8, and `position` is
// where a code point begins.
inline char32_t next_code_point(std::string_view text, std::size_t& position) {
  const std::size_t size = code_point_size(text[position]);
  auto code_point = static_cast<char32_t>(static_cast<unsigned char>(text[position]));
  if (size > 1) code_point &= 0x7FU >> size;
  for (const std::size_t end = position++ + size; position < end; ++position) {
    code_point = (code_point << 6) | (static_cast<unsigned char>(text[position]) & 0x3FU);
  }
  return code_point;
}

// The code point that ends at `position`, which moves before it. Requires: valid UTF-8, and
// `position` is where a code point ends.
inline char32_t previous_code_point(std::string_view text, std::size_t& position) {
  do {
    --position;
  } while (!begins_code_point(text[position]));
  std::size_t begin = position;
  return next_code_point(text, begin);
}

// Requires: a code point of UTF-8, no surrogate.
void append_code_point(std::string& text, char32_t code_point);

}  // namespace limn
