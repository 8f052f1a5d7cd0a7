#include "launch/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <string_view>

namespace limn {

namespace {

std::string_view environment(const char* name) {
  // Nobody in limn sets the environment.
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe)
  return value ? value : "";
}

ColorDepth color_depth() {
  const std::string_view depth = environment("COLORTERM");
  const bool is_true_color = depth == "truecolor" || depth == "24bit";
  return is_true_color ? ColorDepth::TrueColor : ColorDepth::Palette256;
}

}  // namespace

Terminal describe_terminal(int descriptor) {
  Terminal terminal;
  terminal.depth = color_depth();
  terminal.is_terminal = isatty(descriptor) == 1;
  if (!terminal.is_terminal) return terminal;

  terminal.wants_colors = environment("NO_COLOR").empty() && environment("TERM") != "dumb";
  winsize size{};
  // A serial line does not know its size and says 0.
  if (ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) terminal.columns = size.ws_col;
  return terminal;
}

}  // namespace limn
