#include "launch/visible_text.h"

#include <fmt/format.h>
#include <unicode/uchar.h>
#include <unicode/utf8.h>

#include "storage/error.h"

namespace limn {

namespace {

// Format characters that change the direction of what follows, or the place of what is there:
// with them a text can look like another one.
bool steers_direction(UChar32 code_point) {
  return u_hasBinaryProperty(code_point, UCHAR_BIDI_CONTROL);
}

bool steers_terminal(UChar32 code_point) {
  switch (u_charType(code_point)) {
    case U_CONTROL_CHAR:
    case U_LINE_SEPARATOR:
    case U_PARAGRAPH_SEPARATOR:
      return true;
    default:
      return steers_direction(code_point);
  }
}

std::string escape(UChar32 code_point) {
  switch (code_point) {
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    default:
      break;
  }
  const auto number = static_cast<std::uint32_t>(code_point);
  return number < 0x100 ? fmt::format("\\x{:02x}", number) : fmt::format("\\u{:04x}", number);
}

int columns_of(UChar32 code_point) {
  switch (u_charType(code_point)) {
    case U_NON_SPACING_MARK:
    case U_ENCLOSING_MARK:
    case U_FORMAT_CHAR:
      // The soft hyphen is a format character that terminals show.
      return code_point == 0xAD ? 1 : 0;
    default:
      break;
  }
  // The vowels and final consonants of conjoining Hangul join the syllable before them.
  if (code_point >= 0x1160 && code_point <= 0x11FF) return 0;
  const int width = u_getIntPropertyValue(code_point, UCHAR_EAST_ASIAN_WIDTH);
  return width == U_EA_FULLWIDTH || width == U_EA_WIDE ? 2 : 1;
}

VisibleCharacter visible(UChar32 code_point, std::string_view bytes) {
  if (code_point < 0) return {.text = "\uFFFD", .columns = 1, .code_point = U'\uFFFD'};
  const auto number = static_cast<char32_t>(code_point);
  if (!steers_terminal(code_point))
    return {.text = std::string(bytes), .columns = columns_of(code_point), .code_point = number};
  std::string text = escape(code_point);
  const int columns = static_cast<int>(text.size());
  return {.text = std::move(text), .columns = columns, .code_point = number};
}

}  // namespace

std::vector<VisibleCharacter> visible_characters(std::string_view text) {
  std::vector<VisibleCharacter> characters;
  const auto size = static_cast<std::int64_t>(text.size());
  std::int64_t begin = 0;
  while (begin < size) {
    std::int64_t end = begin;
    UChar32 code_point = 0;
    U8_NEXT(text.data(), end, size, code_point);
    characters.push_back(visible(
        code_point,
        text.substr(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin))));
    begin = end;
  }
  return characters;
}

std::string visible_line(std::string_view text) {
  std::string line;
  for (const VisibleCharacter& character : visible_characters(text))
    line += character.text;
  return line;
}

std::string shortened_line(std::string_view text, std::int64_t columns) {
  constexpr std::string_view kCut = "...";
  check(columns >= 3, "a line of {} columns cannot say that it was cut", columns);
  std::string line;
  std::int64_t columns_taken = 0;
  std::size_t cut_at = 0;  // where `kCut` would still fit
  for (const VisibleCharacter& character : visible_characters(text)) {
    columns_taken += character.columns;
    if (columns_taken > columns) return line.substr(0, cut_at).append(kCut);
    line += character.text;
    if (columns_taken + static_cast<std::int64_t>(kCut.size()) <= columns) cut_at = line.size();
  }
  return line;
}

std::vector<Line> break_lines(std::span<const VisibleCharacter> text, std::int64_t columns) {
  // Where the line under way could end, and the next one begin.
  struct Break {
    std::int64_t end = 0;
    std::int64_t next_begin = 0;
    std::int64_t columns_before = 0;  // of the line, up to `next_begin`
  };

  std::vector<Line> lines;
  std::int64_t begin = 0;
  std::int64_t columns_taken = 0;
  Break last_break;  // none if it lies before the line
  const auto end_line = [&](const Break& at) {
    lines.push_back({begin, at.end});
    begin = at.next_begin;
    columns_taken -= at.columns_before;
  };
  const auto size = static_cast<std::int64_t>(text.size());
  for (std::int64_t i = 0; i < size; ++i) {
    const VisibleCharacter& character = text[static_cast<std::size_t>(i)];
    const bool is_space = character.code_point == U' ' || character.code_point == U'\t';
    const bool fits = columns_taken + character.columns <= columns;
    if (character.code_point == U'\n' || (is_space && !fits)) {
      end_line({.end = i, .next_begin = i + 1, .columns_before = columns_taken});
      continue;
    }
    if (!fits) {
      const Break in_the_word = {.end = i, .next_begin = i, .columns_before = columns_taken};
      end_line(last_break.next_begin > begin ? last_break : in_the_word);
    }
    columns_taken += character.columns;
    if (is_space || character.columns == 2) {
      last_break = {
          .end = is_space ? i : i + 1, .next_begin = i + 1, .columns_before = columns_taken};
    }
  }
  lines.push_back({begin, size});
  return lines;
}

std::string text_of_line(std::span<const VisibleCharacter> text, const Line& line) {
  std::string characters;
  for (std::int64_t i = line.begin; i < line.end; ++i)
    characters += text[static_cast<std::size_t>(i)].text;
  return characters;
}

std::int64_t display_columns(std::string_view text) {
  std::int64_t columns = 0;
  for (const VisibleCharacter& character : visible_characters(text))
    columns += character.columns;
  return columns;
}

}  // namespace limn
