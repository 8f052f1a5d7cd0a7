// Parts that several entries of a tokenizer file share.
#pragma once

#include <cstdint>

#include "coordinator/checked_json.h"
#include "coordinator/text_pattern.h"

namespace limn {

// {"String": "..."} or {"Regex": "..."}.
TextPattern parse_pattern(const CheckedJson& pattern);

// The elements of a "Sequence" that lies `depth` others deep. Throws DataError when it is nested
// deeper than any real file.
std::vector<CheckedJson> parse_sequence(const CheckedJson& elements, int depth);

}  // namespace limn
