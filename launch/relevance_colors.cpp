#include "launch/relevance_colors.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>

#include <fmt/format.h>

#include "storage/error.h"

namespace limn {

namespace {

struct Rgb {
  double red;
  double green;
  double blue;
};

// From paper to the strongest shade. The luminance of the ends is 0.28 and 0.26.
constexpr std::array<Rgb, 3> kSupporting = {{{247, 245, 242}, {253, 190, 110}, {232, 104, 10}}};
constexpr std::array<Rgb, 3> kOpposing = {{{247, 245, 242}, {150, 200, 228}, {62, 142, 196}}};

double between(double from, double to, double fraction) {
  return from + fraction * (to - from);
}

Rgb color_of(int shade) {
  const auto& scale = shade < 0 ? kOpposing : kSupporting;
  constexpr double kStretches = kSupporting.size() - 1;
  const double place = kStretches * std::abs(shade) / kStrongestShade;
  const auto stretch = static_cast<std::size_t>(std::min(place, kStretches - 1));
  const double fraction = place - static_cast<double>(stretch);
  const Rgb& from = scale.at(stretch);
  const Rgb& to = scale.at(stretch + 1);
  return {
      between(from.red, to.red, fraction),
      between(from.green, to.green, fraction),
      between(from.blue, to.blue, fraction)};
}

// The nearest that the 256 colours of terminals have: white, then creams and orange, or blues.
constexpr std::array<int, 5> kSupporting256 = {231, 230, 223, 215, 208};
constexpr std::array<int, 5> kOpposing256 = {231, 195, 153, 117, 74};

int color256_of(int shade) {
  const auto& scale = shade < 0 ? kOpposing256 : kSupporting256;
  constexpr double kSteps = kSupporting256.size() - 1;
  const double place = kSteps * std::abs(shade) / kStrongestShade;
  return scale.at(static_cast<std::size_t>(std::ceil(place)));
}

}  // namespace

int shade_of(double relevance, double strongest) {
  if (std::isnan(relevance) || strongest == 0) return 0;
  const double fraction = std::clamp(relevance / strongest, -1.0, 1.0);
  return static_cast<int>(std::lround(fraction * kStrongestShade));
}

std::string text_on_shade(int shade, ColorDepth depth) {
  check(depth != ColorDepth::None, "a shade without colours: {}", shade);
  check(std::abs(shade) <= kStrongestShade, "a shade that there is not: {}", shade);
  if (depth == ColorDepth::Palette256)
    return fmt::format("\x1b[38;5;16;48;5;{}m", color256_of(shade));
  const Rgb color = color_of(shade);
  return fmt::format(
      "\x1b[38;2;20;20;20;48;2;{:.0f};{:.0f};{:.0f}m", color.red, color.green, color.blue);
}

}  // namespace limn
