// Unicode's normal forms (UAX #15) as of Unicode 9.0, with every character's origin.
#pragma once

#include "coordinator/pieced_text.h"

namespace limn {

enum class NormalForm { Nfc, Nfd, Nfkc, Nfkd };

// Appends `text` in `form` to `result`. A decomposed character's parts stand for that character, a
// composed one for the first of its parts; parts that changed places keep the order of origins, as
// Python's `tokenizers` has it. Requires: valid UTF-8.
void append_normalized(NormalForm form, const AlignedView& text, AlignedText& result);

}  // namespace limn
