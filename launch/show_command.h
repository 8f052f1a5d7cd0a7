// `limn show`: relevance maps as a person reads them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "launch/terminal.h"

namespace limn {

enum class ColorChoice { Auto, Always, Never };

struct ShowOptions {
  std::filesystem::path path;           // a run directory or a relevance file
  std::vector<std::string> sample_ids;  // none: all
  ColorChoice color = ColorChoice::Auto;
  std::optional<std::int64_t> columns;  // none: the terminal's
};

// Writes samples to `out`, which leads to `terminal`. With colours, every character of a sample's
// text is shaded by the relevance of its unit, summed over the targets; without, a table of the
// units follows the text. The last line says how many were skipped, if any were. What the text
// holds cannot steer the terminal. Throws UsageError when there is no sample of a given id (naming
// the nearest one), DataError when the run is not complete or the file no relevance file, IoError
// when it cannot be read.
void show(const ShowOptions& options, const Terminal& terminal, std::ostream& out);

}  // namespace limn
