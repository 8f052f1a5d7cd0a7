#include "launch/page_writer.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "launch/relevance_colors.h"

namespace limn {

namespace {

constexpr std::string_view kIndent = "  ";

constexpr std::string_view kFullBlock = "\u2588";
constexpr std::string_view kLeftHalfBlock = "\u258c";
constexpr std::string_view kRightHalfBlock = "\u2590";
constexpr std::string_view kMiddleLine = "\u2502";

std::string repeated(std::string_view text, std::int64_t times) {
  std::string all;
  for (std::int64_t i = 0; i < times; ++i)
    all += text;
  return all;
}

std::string relevance_text(double relevance) {
  if (std::isnan(relevance)) return "not measured";
  const bool rounds_to_zero = std::abs(relevance) < 0.0005;
  return rounds_to_zero ? "0.000" : fmt::format("{:+.3f}", relevance);
}

// The escape sequence before a character with this mark.
std::string style_of(const CharacterMark& mark, double strongest, ColorDepth depth) {
  std::string style(kPlain);
  style += text_on_shade(shade_of(mark.relevance, strongest), depth);
  if (mark.is_target) style += kBoldUnderlined;
  return style;
}

// One line of the text, on paper up to the right margin.
std::string shaded_line(
    const SamplePage& page, const Line& line, ColorDepth depth, std::int64_t columns) {
  const std::string paper = style_of({}, 0, depth);
  std::string written = paper + " ";
  std::string style = paper;
  std::int64_t columns_left = columns;
  for (std::int64_t i = line.begin; i < line.end; ++i) {
    const auto at = static_cast<std::size_t>(i);
    std::string wanted = style_of(page.marks[at], page.strongest_relevance, depth);
    if (wanted != style) written += wanted;
    style = std::move(wanted);
    written += page.text[at].text;
    columns_left -= page.text[at].columns;
  }
  if (style != paper) written += paper;
  return fmt::format("{}{:{}}{}\n", written, "", columns_left + 1, kPlain);
}

// " against -1.250 [shades] +1.250 for the target", without the words where there is no room.
std::string scale(const SamplePage& page, ColorDepth depth, std::int64_t columns) {
  std::string shades;
  for (int shade = -kStrongestShade; shade <= kStrongestShade; ++shade)
    shades += text_on_shade(shade, depth) + (shade == 0 ? "0" : " ");
  constexpr std::int64_t kShadesColumns = 2 * kStrongestShade + 1;

  const std::string least = fmt::format("{:+.3f}", -page.strongest_relevance);
  const std::string most = fmt::format("{:+.3f}", page.strongest_relevance);
  std::string left = fmt::format(" against {} ", least);
  std::string right = fmt::format(" {} for the target", most);
  if (static_cast<std::int64_t>(left.size() + right.size()) + kShadesColumns > columns) {
    left = fmt::format(" {} ", least);
    right = fmt::format(" {}", most);
  }
  return fmt::format("{0}{1}{2}{3}{2}{0}{4}{2}\n", kDim, left, kPlain, shades, right);
}

// The page's text with brackets around the target.
std::vector<VisibleCharacter> bracketed_text(const SamplePage& page) {
  const auto bracket = [](char32_t code_point, std::string_view text) {
    return VisibleCharacter{.text = std::string(text), .columns = 2, .code_point = code_point};
  };
  std::vector<VisibleCharacter> text;
  bool in_target = false;
  for (std::size_t i = 0; i <= page.text.size(); ++i) {
    const bool is_target = i < page.text.size() && page.marks[i].is_target;
    if (is_target && !in_target) text.push_back(bracket(U'[', "[["));
    if (!is_target && in_target) text.push_back(bracket(U']', "]]"));
    in_target = is_target;
    if (i < page.text.size()) text.push_back(page.text[i]);
  }
  return text;
}

// A bar to the left or to the right of the middle, in steps of half a column.
std::string bar(double relevance, double strongest, std::int64_t columns_a_side) {
  const double fraction =
      std::isnan(relevance) || strongest == 0 ? 0 : std::clamp(relevance / strongest, -1.0, 1.0);
  const std::int64_t halves =
      std::lround(std::abs(fraction) * static_cast<double>(2 * columns_a_side));
  const std::string whole = repeated(kFullBlock, halves / 2);
  const bool has_half = halves % 2 == 1;
  const std::string rest(static_cast<std::size_t>(columns_a_side - (halves + 1) / 2), ' ');
  std::string left(static_cast<std::size_t>(columns_a_side), ' ');
  std::string right = left;
  if (fraction < 0) {
    left = fmt::format("{}{}{}", rest, has_half ? kRightHalfBlock : "", whole);
  } else {
    right = fmt::format("{}{}{}", whole, has_half ? kLeftHalfBlock : "", rest);
  }
  return fmt::format("{}{}{}", left, kMiddleLine, right);
}

std::int64_t bar_columns_a_side(std::int64_t columns) {
  return columns < 80 ? 5 : 10;
}

void write_table_head(std::int64_t columns, std::ostream& out) {
  out << fmt::format(
      "{}{:>12}  {:>{}}{}+\n", kIndent, "relevance", "-", bar_columns_a_side(columns), kMiddleLine);
}

// As the target is bracketed in the text, so is a unit of it.
void write_unit(const PageUnit& unit, double strongest, std::int64_t columns, std::ostream& out) {
  const std::string head = fmt::format(
      "{}{:>12}  {}  ",
      kIndent,
      relevance_text(unit.relevance),
      bar(unit.relevance, strongest, bar_columns_a_side(columns)));
  const std::string_view open = unit.is_target ? "[[" : "";
  const std::string_view close = unit.is_target ? "]]" : "";
  const auto brackets = static_cast<std::int64_t>(open.size() + close.size());
  const std::string text = shortened_line(unit.text, columns - display_columns(head) - brackets);
  out << head << open << text << close << '\n';
}

}  // namespace

void write_shaded(
    const SamplePage& page, ColorDepth depth, std::int64_t columns, std::ostream& out) {
  const std::int64_t text_columns = columns - 2;
  for (const Line& line : break_lines(page.text, text_columns))
    out << shaded_line(page, line, depth, text_columns);
  if (page.strongest_relevance > 0) out << scale(page, depth, columns);
}

void write_table(const SamplePage& page, std::int64_t columns, std::ostream& out) {
  const std::vector<VisibleCharacter> text = bracketed_text(page);
  for (const Line& line : break_lines(text, columns - static_cast<std::int64_t>(kIndent.size()))) {
    if (line.begin < line.end) out << kIndent;
    out << text_of_line(text, line) << '\n';
  }
  out << '\n';
  write_table_head(columns, out);
  for (const PageUnit& unit : page.units)
    write_unit(unit, page.strongest_relevance, columns, out);
}

}  // namespace limn
