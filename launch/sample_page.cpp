#include "launch/sample_page.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "storage/error.h"

namespace limn {

namespace {

bool is_given(const CharRange& range) {
  return range.begin >= 0;
}

bool is_given(const PixelBox& box) {
  return box.x0 >= 0;
}

// A page's text and the characters of it that each token covers.
struct TokenText {
  std::string utf8;
  std::vector<CharRange> token_chars;
};

TokenText text_of_tokens(const SampleRecord& sample) {
  TokenText text;
  if (!sample.text.empty()) {
    text.utf8 = sample.text;
    for (const TokenRecord& token : sample.tokens)
      text.token_chars.push_back(token.chars);
    return text;
  }
  for (std::size_t position = 0; position < sample.tokens.size(); ++position) {
    if (position > 0) text.utf8 += ' ';
    const auto begin = static_cast<std::int32_t>(text.utf8.size());
    text.utf8 += fmt::format("{}:{}", position, sample.tokens[position].id);
    text.token_chars.push_back({begin, static_cast<std::int32_t>(text.utf8.size())});
  }
  return text;
}

std::vector<VisibleCharacter> characters_of(std::string_view utf8) {
  std::vector<VisibleCharacter> characters = visible_characters(utf8);
  for (VisibleCharacter& character : characters) {
    if (character.code_point != U'\t') continue;
    character.text = "    ";
    character.columns = 4;
  }
  return characters;
}

// The ranges of some tokens, those that touch as one.
std::vector<CharRange> joined_ranges(
    std::span<const std::int32_t> tokens, std::span<const CharRange> token_chars) {
  std::vector<CharRange> ranges;
  for (const std::int32_t token : tokens) {
    const CharRange chars = token_chars[static_cast<std::size_t>(token)];
    if (!is_given(chars)) continue;
    if (!ranges.empty() && ranges.back().end >= chars.begin) {
      ranges.back().end = std::max(ranges.back().end, chars.end);
    } else {
      ranges.push_back(chars);
    }
  }
  return ranges;
}

std::vector<CharRange> ranges_of(const UnitRecord& unit, const TokenText& text) {
  if (is_given(unit.chars)) return {unit.chars};
  return joined_ranges(unit.tokens, text.token_chars);
}

// "token 3", "tokens 3-7", "tokens 3, 5-7".
std::string positions_text(std::span<const std::int32_t> tokens) {
  if (tokens.empty()) return "no tokens";
  std::vector<std::string> runs;
  for (std::size_t begin = 0; begin < tokens.size();) {
    std::size_t end = begin + 1;
    while (end < tokens.size() && tokens[end] == tokens[end - 1] + 1)
      ++end;
    runs.push_back(
        end == begin + 1 ? fmt::format("{}", tokens[begin])
                         : fmt::format("{}-{}", tokens[begin], tokens[end - 1]));
    begin = end;
  }
  return fmt::format("{} {}", tokens.size() == 1 ? "token" : "tokens", fmt::join(runs, ", "));
}

std::string text_of_unit(
    const SampleRecord& sample,
    const UnitRecord& unit,
    std::span<const VisibleCharacter> text,
    std::span<const CharRange> ranges) {
  if (is_given(unit.box))
    return fmt::format("box {},{} {},{}", unit.box.x0, unit.box.y0, unit.box.x1, unit.box.y1);
  if (sample.text.empty() || ranges.empty()) return positions_text(unit.tokens);
  std::vector<std::string> pieces;
  for (const CharRange& range : ranges)
    pieces.push_back(text_of_line(text, {range.begin, range.end}));
  return fmt::format("\"{}\"", fmt::join(pieces, " ... "));
}

double summed_relevance(const SampleRecord& sample, std::size_t unit) {
  const std::size_t num_targets = sample.targets.size();
  const auto row = std::span(sample.delta).subspan(unit * num_targets, num_targets);
  return std::accumulate(row.begin(), row.end(), 0.0);
}

bool is_stronger(double relevance, double other) {
  return std::abs(relevance) > std::abs(other);
}

// The parts of a page whose text is there already.
class PageMarker {
 public:
  // Borrows: `sample` and `text`.
  PageMarker(const SampleRecord& sample, const TokenText& text) : sample_(sample), text_(text) {
    page_.text = characters_of(text.utf8);
    page_.marks.resize(page_.text.size());
  }

  SamplePage mark() {
    mark_targets();
    for (std::size_t unit = 0; unit < sample_.units.size(); ++unit)
      mark_unit(sample_.units[unit], summed_relevance(sample_, unit));
    return std::move(page_);
  }

 private:
  std::span<CharacterMark> marks_of(const CharRange& range) {
    return std::span(page_.marks)
        .subspan(
            static_cast<std::size_t>(range.begin),
            static_cast<std::size_t>(range.end - range.begin));
  }

  void mark_targets() {
    std::vector<std::int32_t> positions;
    for (const TargetRecord& target : sample_.targets) {
      positions.push_back(target.position);
      page_.target_log_prob += static_cast<double>(target.log_prob);
    }
    for (const CharRange& range : joined_ranges(positions, text_.token_chars)) {
      for (CharacterMark& mark : marks_of(range))
        mark.is_target = true;
    }
  }

  bool is_in_target(const UnitRecord& unit) const {
    return !sample_.targets.empty() && !unit.tokens.empty() &&
           unit.tokens.front() >= sample_.targets.front().position;
  }

  void mark_unit(const UnitRecord& unit, double relevance) {
    const std::vector<CharRange> ranges = ranges_of(unit, text_);
    page_.units.push_back(
        {.text = text_of_unit(sample_, unit, page_.text, ranges),
         .relevance = relevance,
         .is_target = is_in_target(unit)});
    if (std::isfinite(relevance))
      page_.strongest_relevance = std::max(page_.strongest_relevance, std::abs(relevance));
    for (const CharRange& range : ranges) {
      for (CharacterMark& mark : marks_of(range))
        if (is_stronger(relevance, mark.relevance)) mark.relevance = relevance;
    }
  }

  const SampleRecord& sample_;
  const TokenText& text_;
  SamplePage page_;
};

// A page of a file that some other program wrote must not read beyond its text.
void refuse_what_lies_outside(const SampleRecord& sample, const TokenText& text) {
  const auto num_characters = static_cast<std::int64_t>(visible_characters(text.utf8).size());
  const auto num_tokens = static_cast<std::int64_t>(sample.tokens.size());
  const auto refuse_unless = [&](bool holds, std::string_view what) {
    if (!holds)
      throw DataError(fmt::format("a sample holds {}: {}", what, visible_line(sample.id)));
  };
  const auto is_in_text = [&](const CharRange& range) {
    return !is_given(range) || (range.begin <= range.end && range.end <= num_characters);
  };
  const auto is_in_sequence = [&](std::int32_t position) {
    return position >= 0 && position < num_tokens;
  };
  for (const CharRange& range : text.token_chars)
    refuse_unless(is_in_text(range), "a token outside its text");
  for (const UnitRecord& unit : sample.units) {
    refuse_unless(
        is_in_text(unit.chars) &&
            std::all_of(unit.tokens.begin(), unit.tokens.end(), is_in_sequence),
        "a unit outside its text");
  }
  for (const TargetRecord& target : sample.targets)
    refuse_unless(is_in_sequence(target.position), "a target outside its text");
  refuse_unless(
      sample.delta.size() == sample.units.size() * sample.targets.size(),
      "another number of deltas than units times targets");
}

}  // namespace

SamplePage page_of(const SampleRecord& sample) {
  const TokenText text = text_of_tokens(sample);
  refuse_what_lies_outside(sample, text);
  return PageMarker(sample, text).mark();
}

}  // namespace limn
