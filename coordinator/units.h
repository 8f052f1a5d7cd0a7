// Units: the things that get a relevance.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "storage/sample_record.h"

namespace limn {

// Which tokens belong to a range.
enum class TokenMembership {
  // Those whose first character that is not white space lies in it: disjoint ranges share no token.
  // A token of white space alone goes with the character that follows it, for a word's leading
  // space would betray the word.
  FirstCharacter,
  // Those that have a character in it that is not white space, or are white space and meet it.
  AnyCharacter,
};

// One unit for each range, with the tokens that belong to it. A unit may end up without tokens, and
// a token without unit. Requires: `text` is valid UTF-8, `tokens` are its tokens in the order of
// their characters; no range is empty.
std::vector<UnitRecord> units_of_ranges(
    std::string_view text,
    std::span<const CharRange> ranges,
    std::span<const TokenRecord> tokens,
    TokenMembership membership);

// One unit for each token that covers characters; special tokens are never units.
std::vector<UnitRecord> units_of_tokens(std::span<const TokenRecord> tokens);

}  // namespace limn
