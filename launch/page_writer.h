// A sample's page on paper: with colours, or as a table.
#pragma once

#include <cstdint>
#include <ostream>

#include "launch/sample_page.h"
#include "launch/terminal.h"

namespace limn {

// Writes the text with every character on the shade of its relevance, the target in bold and
// underlined, and the scale below it. Requires: columns >= 40, `depth` is not None.
void write_shaded(
    const SamplePage& page, ColorDepth depth, std::int64_t columns, std::ostream& out);

// Writes the text with the target in [[brackets]] and, below it, a line for each unit: its
// relevance as a number and as a bar (to the right: it supports the target), and its text.
// Requires: columns >= 40.
void write_table(const SamplePage& page, std::int64_t columns, std::ostream& out);

}  // namespace limn
