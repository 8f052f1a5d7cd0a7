// Cuts a text into words, sentences, paragraphs and their like.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "coordinator/job.h"
#include "coordinator/text_pattern.h"
#include "storage/sample_record.h"

namespace limn {

// All functions of this file give character ranges that ascend, are disjoint, trimmed of the white
// space around them and not empty, and require valid UTF-8.

// The words, sentences, paragraphs or lines of `text`. Words and sentences follow Unicode's rules
// (UAX #29, as ICU implements them). White space belongs to no word, a punctuation mark is a word
// of its own. A sentence ends with its line at the latest; it goes on after an abbreviation ("Dr.",
// "U.S.", an initial) and after the number of a list item ("2."). Blank lines, and U+2029, end a
// paragraph. Requires: `kind` is one of these four.
std::vector<CharRange> segment_text(std::string_view text, UnitKind kind);

// The delimiter that explain.delimiter means: a regular expression between two slashes, or else the
// string itself. Throws DataError when it is empty or the expression does not compile.
TextPattern parse_delimiter(std::string_view delimiter);

// What lies between the matches of `delimiter`: all of `text` where there are none. Throws
// DataError when matching takes too many steps.
std::vector<CharRange> split_text(std::string_view text, const TextPattern& delimiter);

// At most `num_pieces` pieces of about the same number of characters. A piece begins where a
// sentence does or, in a sentence that is more than half as long again as an equal share of the
// text, at a word before which a line could break (UAX #14): each time at that place which is
// nearest to where equal shares would be cut, the earlier of two; what comes to the same place is
// cut once. Requires: num_pieces > 0.
std::vector<CharRange> equal_pieces(std::string_view text, std::int64_t num_pieces);

}  // namespace limn
