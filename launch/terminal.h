// What a stream of the process can show.
#pragma once

#include <cstdint>

namespace limn {

enum class ColorDepth { None, Palette256, TrueColor };

struct Terminal {
  bool is_terminal = false;
  ColorDepth colors = ColorDepth::Palette256;  // what it shows if it is asked to, terminal or not
  bool wants_colors = false;                   // a terminal, and nobody set NO_COLOR or TERM=dumb
  std::int64_t columns = 80;
};

// Describes where the file descriptor (1: output, 2: errors) leads, from the descriptor and from
// COLORTERM, NO_COLOR, TERM and COLUMNS.
Terminal describe_terminal(int descriptor);

}  // namespace limn
