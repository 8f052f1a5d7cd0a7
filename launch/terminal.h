// What a stream of the process can show.
#pragma once

#include <cstdint>

namespace limn {

enum class ColorDepth { None, Palette256, TrueColor };

struct Terminal {
  bool is_terminal = false;
  // What to colour with, if colours are wanted: TrueColor if COLORTERM says so.
  ColorDepth depth = ColorDepth::Palette256;
  bool wants_colors = false;  // a terminal that is not dumb, and NO_COLOR is not set
  std::int64_t columns = 80;
};

// Describes where a file descriptor (1: output, 2: errors) leads.
Terminal describe_terminal(int descriptor);

}  // namespace limn
