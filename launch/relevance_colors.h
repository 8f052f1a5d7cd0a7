// The colours of relevance: orange supports the target, blue speaks against it.
#pragma once

#include <string>
#include <string_view>

#include "launch/terminal.h"

namespace limn {

// Shades run from -kStrongestShade to kStrongestShade; 0 is the colour of paper.
inline constexpr int kStrongestShade = 10;

// The shade of a relevance where `strongest` is the largest there is. Paper for what was not
// measured (NaN). Requires: strongest >= 0.
int shade_of(double relevance, double strongest);

// The escape sequence for black text on that shade. People who see few colours tell orange from
// blue, and equal shades of both are equally light. Requires: `depth` is not None.
std::string text_on_shade(int shade, ColorDepth depth);

inline constexpr std::string_view kBold = "\x1b[1m";
inline constexpr std::string_view kDim = "\x1b[2m";
inline constexpr std::string_view kBoldUnderlined = "\x1b[1;4m";
inline constexpr std::string_view kPlain = "\x1b[0m";

}  // namespace limn
