#include "coordinator/units.h"

#include <algorithm>
#include <cstdint>
#include <string>

#include "coordinator/code_points.h"
#include "coordinator/white_space.h"

namespace limn {

namespace {

bool covers_characters(const TokenRecord& token) {
  return token.chars.begin < token.chars.end;
}

// A token's position, and the characters that decide to which ranges it belongs.
struct PlacedToken {
  std::int32_t position;
  CharRange place;
};

CharRange place_of(std::u32string_view characters, CharRange token, TokenMembership membership) {
  if (membership == TokenMembership::FirstCharacter) {
    // Behind a token of white space alone: it goes with what follows, as " the" is one token
    // elsewhere.
    auto first = token.begin;
    while (first < std::ssize(characters) && is_white_space(characters[first]))
      ++first;
    if (first == std::ssize(characters)) first = token.begin;
    return {first, first + 1};
  }
  const CharRange place = trimmed(characters, token);
  return place.begin == place.end ? token : place;
}

std::vector<PlacedToken> placed_tokens(
    std::u32string_view characters,
    std::span<const TokenRecord> tokens,
    TokenMembership membership) {
  std::vector<PlacedToken> placed;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (!covers_characters(tokens[i])) continue;
    placed.push_back(
        {static_cast<std::int32_t>(i), place_of(characters, tokens[i].chars, membership)});
  }
  return placed;
}

}  // namespace

std::vector<UnitRecord> units_of_ranges(
    std::string_view text,
    std::span<const CharRange> ranges,
    std::span<const TokenRecord> tokens,
    TokenMembership membership) {
  const std::vector<PlacedToken> placed = placed_tokens(code_points(text), tokens, membership);
  std::vector<UnitRecord> units;
  units.reserve(ranges.size());
  for (const CharRange& range : ranges) {
    UnitRecord unit{.chars = range, .box = {}, .tokens = {}};
    // Places ascend, so the range's tokens are neighbours.
    auto token = std::ranges::partition_point(
        placed, [&](const PlacedToken& before) { return before.place.end <= range.begin; });
    for (; token != placed.end() && token->place.begin < range.end; ++token) {
      unit.tokens.push_back(token->position);
    }
    units.push_back(std::move(unit));
  }
  return units;
}

std::vector<UnitRecord> units_of_tokens(std::span<const TokenRecord> tokens) {
  std::vector<UnitRecord> units;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (!covers_characters(tokens[i])) continue;
    units.push_back(
        {.chars = tokens[i].chars, .box = {}, .tokens = {static_cast<std::int32_t>(i)}});
  }
  return units;
}

}  // namespace limn
