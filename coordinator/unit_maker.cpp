#include "coordinator/unit_maker.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include <unicode/uchar.h>

#include "coordinator/code_points.h"
#include "coordinator/record_refusal.h"
#include "coordinator/text_segments.h"
#include "coordinator/units.h"
#include "coordinator/white_space.h"

namespace limn {

namespace {

bool is_spelt(const TokenRecord& token) {
  return token.chars.begin < token.chars.end;
}

// Ascending, those that overlap as one.
std::vector<CharRange> merged(std::vector<CharRange> ranges) {
  std::ranges::sort(ranges, {}, &CharRange::begin);
  std::vector<CharRange> result;
  for (const CharRange& range : ranges) {
    if (!result.empty() && range.begin < result.back().end) {
      result.back().end = std::max(result.back().end, range.end);
    } else {
      result.push_back(range);
    }
  }
  return result;
}

// What is left of ascending, disjoint ranges without others of that kind.
std::vector<CharRange> without(
    std::span<const CharRange> ranges, std::span<const CharRange> holes) {
  std::vector<CharRange> rest;
  for (const CharRange& range : ranges) {
    std::int32_t begin = range.begin;
    for (const CharRange& hole : holes) {
      if (hole.end <= begin || hole.begin >= range.end) continue;
      if (begin < hole.begin) rest.push_back({begin, hole.begin});
      begin = hole.end;
    }
    if (begin < range.end) rest.push_back({begin, range.end});
  }
  return rest;
}

std::vector<CharRange> context_of(const DatasetRecord& record, std::string_view prompt) {
  if (record.context.empty()) {
    refuse(
        record,
        "explain.units_over is context but the record has no context; add the key context, or "
        "explain the whole prompt");
  }
  const std::int32_t prompt_end = num_code_points(prompt);
  for (const CharRange& range : record.context) {
    if (range.begin < range.end && range.end <= prompt_end) continue;
    refuse(
        record,
        "context must be ranges of one or more of the prompt's {} characters: [{}, {})",
        prompt_end,
        range.begin,
        range.end);
  }
  return merged(record.context);
}

std::vector<UnitRecord> units_of_positions(std::int64_t begin, std::int64_t end) {
  std::vector<UnitRecord> units;
  for (std::int64_t position = begin; position < end; ++position)
    units.push_back({.chars = {}, .box = {}, .tokens = {static_cast<std::int32_t>(position)}});
  return units;
}

// How many of `num_pieces` pieces each of some texts gets by its length, at least one.
std::vector<std::int64_t> shares_of(
    std::span<const std::int32_t> lengths, std::int64_t num_pieces) {
  std::int64_t all = 0;
  for (const std::int32_t length : lengths)
    all += length;
  // More than there are characters would be cut from nothing.
  const std::int64_t pieces = std::min(num_pieces, all);
  std::vector<std::int64_t> shares;
  for (const std::int32_t length : lengths) {
    const std::int64_t rounded = all == 0 ? 0 : (2 * pieces * length + all) / (2 * all);
    shares.push_back(std::max<std::int64_t>(rounded, 1));
  }
  return shares;
}

bool holds_letter_or_digit(std::u32string_view text, CharRange range) {
  const std::u32string_view piece =
      text.substr(range.begin, static_cast<std::size_t>(range.end - range.begin));
  return std::ranges::any_of(
      piece, [](char32_t character) { return u_isalnum(static_cast<UChar32>(character)) != 0; });
}

std::vector<UnitRecord> units_of_given_tokens(
    const DatasetRecord& record, std::int64_t num_tokens) {
  std::vector<UnitRecord> units;
  for (std::vector<std::int32_t> positions : *record.unit_tokens) {
    if (positions.empty()) refuse(record, "each of unit_tokens must have a position: []");
    std::ranges::sort(positions);
    positions.erase(std::unique(positions.begin(), positions.end()), positions.end());
    if (positions.back() >= num_tokens) {
      refuse(
          record,
          "unit_tokens must be positions of the {} tokens of prompt and target: {}",
          num_tokens,
          positions.back());
    }
    units.push_back({.chars = {}, .box = {}, .tokens = std::move(positions)});
  }
  return units;
}

}  // namespace

UnitMaker::UnitMaker(const Tokenizer* tokenizer, const ExplainOptions& options)
    : tokenizer_(tokenizer),
      options_(options) {
  if (options.units == UnitKind::Delimiter) {
    delimiter_ = std::make_shared<const TextPattern>(parse_delimiter(options.delimiter));
  }
}

PromptUnits UnitMaker::prompt_units(const DatasetRecord& record, const UnitSource& source) const {
  switch (options_.units) {
    case UnitKind::Token:
      return {.units = token_units(record, source)};
    case UnitKind::Given:
      return {.units = given_units(record, source)};
    case UnitKind::Word:
    case UnitKind::Sentence:
    case UnitKind::Paragraph:
    case UnitKind::Line:
    case UnitKind::Delimiter:
    case UnitKind::Auto:
      return units_of_text(record, source);
  }
  throw InternalError("explain.units has a value that is none of its enumerators");
}

std::vector<UnitRecord> UnitMaker::target_units(const UnitSource& source) const {
  const auto num_tokens = std::ssize(source.tokens);
  if (source.text.empty()) return units_of_positions(source.prompt_length, num_tokens);
  std::vector<UnitRecord> units =
      units_of_tokens(without_special(source.tokens.subspan(source.prompt_length)));
  for (UnitRecord& unit : units) {
    for (std::int32_t& position : unit.tokens)
      position += static_cast<std::int32_t>(source.prompt_length);
  }
  return units;
}

// The same tokens, special ones without characters: to units they are like those that the tokenizer
// adds.
std::vector<TokenRecord> UnitMaker::without_special(std::span<const TokenRecord> tokens) const {
  std::vector<TokenRecord> rest(tokens.begin(), tokens.end());
  if (tokenizer_ == nullptr) return rest;
  for (TokenRecord& token : rest) {
    if (tokenizer_->is_special(token.id)) token.chars = {};
  }
  return rest;
}

// Ascending and disjoint. No unit reaches from one of them into another.
std::vector<CharRange> UnitMaker::parts_with_units(
    const DatasetRecord& record, const UnitSource& source) const {
  const std::vector<CharRange> wanted =
      options_.units_over == UnitsOver::Context
          ? context_of(record, source.prompt)
          : std::vector<CharRange>{{0, num_code_points(source.prompt)}};
  std::vector<CharRange> special;
  for (const TokenRecord& token : source.tokens.first(source.prompt_length)) {
    if (is_spelt(token) && tokenizer_ != nullptr && tokenizer_->is_special(token.id))
      special.push_back(token.chars);
  }
  return without(wanted, merged(std::move(special)));
}

std::vector<CharRange> UnitMaker::cut(
    const DatasetRecord& record, std::string_view text, std::int64_t num_pieces) const {
  if (options_.units == UnitKind::Auto) return equal_pieces(text, num_pieces);
  if (options_.units != UnitKind::Delimiter) return segment_text(text, options_.units);
  try {
    return split_text(text, *delimiter_);
  } catch (const DataError& error) {
    refuse(record, "{}", error.what());
  }
}

PromptUnits UnitMaker::units_of_text(const DatasetRecord& record, const UnitSource& source) const {
  if (source.prompt.empty()) {
    refuse(
        record,
        "all units but tokens need a text; set explain.units to token or give the record's units "
        "as unit_tokens and set it to given");
  }
  const std::u32string characters = code_points(source.prompt);
  const std::vector<std::int64_t> bytes = code_point_offsets(source.prompt);
  std::vector<CharRange> parts;
  std::vector<std::int32_t> lengths;
  for (const CharRange& part : parts_with_units(record, source)) {
    const CharRange content = trimmed(characters, part);
    if (content.begin == content.end) continue;
    parts.push_back(content);
    lengths.push_back(content.end - content.begin);
  }
  const std::vector<std::int64_t> shares = shares_of(lengths, options_.num_pieces);

  std::vector<CharRange> ranges;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::int64_t begin = bytes[parts[i].begin];
    const std::string_view text = source.prompt.substr(begin, bytes[parts[i].end] - begin);
    for (const CharRange& piece : cut(record, text, shares[i]))
      ranges.push_back({parts[i].begin + piece.begin, parts[i].begin + piece.end});
  }

  PromptUnits made;
  made.units = units_of_ranges(
      source.text,
      ranges,
      without_special(source.tokens.first(source.prompt_length)),
      TokenMembership::FirstCharacter);
  const auto has_no_token = [](const UnitRecord& unit) { return unit.tokens.empty(); };
  made.num_without_token = std::ranges::count_if(made.units, [&](const UnitRecord& unit) {
    return has_no_token(unit) && holds_letter_or_digit(characters, unit.chars);
  });
  std::erase_if(made.units, has_no_token);
  return made;
}

std::vector<UnitRecord> UnitMaker::token_units(
    const DatasetRecord& record, const UnitSource& source) const {
  const bool is_anywhere = options_.units_over == UnitsOver::Prompt;
  if (source.prompt.empty()) {
    if (!is_anywhere) {
      refuse(
          record,
          "a context is a part of a text, but the record has ids and the model no tokenizer; set "
          "explain.units_over to prompt");
    }
    // Without a text nothing tells special tokens from others.
    return units_of_positions(0, source.prompt_length);
  }
  std::vector<UnitRecord> units =
      units_of_tokens(without_special(source.tokens.first(source.prompt_length)));
  if (is_anywhere) return units;

  const std::u32string characters = code_points(source.prompt);
  const std::vector<CharRange> parts = parts_with_units(record, source);
  std::erase_if(units, [&](const UnitRecord& unit) {
    const CharRange content = trimmed(characters, unit.chars);
    const std::int32_t first = content.begin < content.end ? content.begin : unit.chars.begin;
    return std::ranges::none_of(
        parts, [&](const CharRange& part) { return part.begin <= first && first < part.end; });
  });
  return units;
}

std::vector<UnitRecord> UnitMaker::given_units(
    const DatasetRecord& record, const UnitSource& source) const {
  if (record.unit_tokens) return units_of_given_tokens(record, std::ssize(source.tokens));
  if (!record.units) {
    refuse(
        record,
        "explain.units is given but the record has no units; add units or unit_tokens to it, or "
        "let limn cut sentences");
  }
  const std::int32_t prompt_end = num_code_points(source.prompt);
  for (const CharRange& range : *record.units) {
    if (range.begin < range.end && range.end <= prompt_end) continue;
    refuse(
        record,
        "a unit must be a range of one or more of the prompt's {} characters: [{}, {})",
        prompt_end,
        range.begin,
        range.end);
  }
  std::vector<UnitRecord> units = units_of_ranges(
      source.text,
      *record.units,
      without_special(source.tokens.first(source.prompt_length)),
      TokenMembership::AnyCharacter);
  for (const UnitRecord& unit : units) {
    if (!unit.tokens.empty()) continue;
    refuse(
        record,
        "a unit covers no token; make it longer than the white space between two tokens, or than a "
        "special token: [{}, {})",
        unit.chars.begin,
        unit.chars.end);
  }
  return units;
}

}  // namespace limn
