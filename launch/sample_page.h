// A sample as a page of text: what of it can be shown, and how relevant it is.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "launch/visible_text.h"
#include "storage/sample_record.h"

namespace limn {

inline constexpr double kNotMeasured = std::numeric_limits<double>::quiet_NaN();

// What is known of a character of the page.
struct CharacterMark {
  bool is_target = false;
  double relevance = 0;  // of its unit, the strongest if it has several; 0 if it has none
};

struct PageUnit {
  std::string text;  // on one line
  double relevance = kNotMeasured;
  bool is_target = false;  // it lies in the target
};

// Relevances are sums over the target's tokens, in nats.
struct SamplePage {
  // The sample's text; "0:464 1:3290 ..." (position:token) for a sample of token ids.
  std::vector<VisibleCharacter> text;
  std::vector<CharacterMark> marks;  // of each character
  std::vector<PageUnit> units;       // in the sample's order
  double strongest_relevance = 0;    // the largest absolute value that is finite
  double target_log_prob = 0;        // of the base, summed
};

// Requires: `sample` is Ok. Throws DataError naming the sample's id when its units, tokens or
// targets do not fit its text.
SamplePage page_of(const SampleRecord& sample);

}  // namespace limn
