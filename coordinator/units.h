// Cuts a prompt into units: the things that get a relevance.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "coordinator/job.h"
#include "storage/sample_record.h"

namespace limn {

// The character ranges of the words or sentences of `text`, ascending, by Unicode's segmentation
// rules (UAX #29, as ICU implements them, with its list of English abbreviations for sentences).
// White space between words belongs to none; sentences are trimmed of the white space around them.
// A punctuation mark is a word of its own. Requires: `text` is valid UTF-8; `kind` is Word or
// Sentence.
std::vector<CharRange> segment_text(std::string_view text, UnitKind kind);

// One unit for each range, with the tokens that belong to it: those whose first character that is
// not white space lies in the range (for a token of white space alone: whose first character does).
// A unit may end up without tokens. Requires: `tokens` are those of `text`.
std::vector<UnitRecord> units_of_ranges(
    std::string_view text, std::span<const CharRange> ranges, std::span<const TokenRecord> tokens);

// One unit for each token that covers characters; special tokens are never units.
std::vector<UnitRecord> units_of_tokens(std::span<const TokenRecord> tokens);

}  // namespace limn
