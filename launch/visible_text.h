// Text from anywhere, made safe and measurable for a terminal.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace limn {

// A code point as it is shown.
struct VisibleCharacter {
  // The code point itself or, for one that steers a terminal (controls, direction marks, line
  // separators), an escape: \n, \x1b, \u202e. A byte that is not UTF-8 is shown as U+FFFD.
  std::string text;
  int columns = 1;  // 0 for combining marks, 2 for wide characters; of an escape, its length
  char32_t code_point = 0;
};

// One for each code point of `text`, and one for each byte that is not UTF-8.
std::vector<VisibleCharacter> visible_characters(std::string_view text);

// `text` on one line, without anything that steers a terminal.
std::string visible_line(std::string_view text);

// The same, cut to at most `columns` columns; what was cut is marked by "...".
// Requires: columns >= 3.
std::string shortened_line(std::string_view text, std::int64_t columns);

// Half-open range of characters that stand on one line.
struct Line {
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

// Breaks a text into lines of at most `columns` columns: at its line feeds, which no line holds,
// and else after white space or wide characters; in the middle of a word only if it fills a line.
// Requires: columns is at least that of the widest character.
std::vector<Line> break_lines(std::span<const VisibleCharacter> text, std::int64_t columns);

std::string text_of_line(std::span<const VisibleCharacter> text, const Line& line);

// Columns that `text` takes. Requires: it has no controls.
std::int64_t display_columns(std::string_view text);

}  // namespace limn
