#include "launch/quantity_text.h"

#include <array>
#include <cmath>
#include <cstddef>
#include <string_view>

#include <fmt/format.h>

namespace limn {

std::string duration_text(double seconds) {
  const auto whole = static_cast<std::int64_t>(std::ceil(seconds));
  if (whole < 100) return fmt::format("{} s", whole);
  const std::int64_t minutes = (whole + 30) / 60;
  if (minutes < 100) return fmt::format("{} min", minutes);
  const std::int64_t hours = minutes / 60;
  if (hours < 48) return fmt::format("{} h {} min", hours, minutes % 60);
  return fmt::format("{} d {} h", hours / 24, hours % 24);
}

std::string rate_text(double rows_per_second) {
  if (rows_per_second < 1e3) return fmt::format("{:.0f} rows/s", rows_per_second);
  if (rows_per_second < 1e6) return fmt::format("{:.1f}k rows/s", rows_per_second / 1e3);
  return fmt::format("{:.1f}M rows/s", rows_per_second / 1e6);
}

std::string bytes_text(std::int64_t bytes) {
  constexpr std::array<std::string_view, 5> kUnits = {"B", "kB", "MB", "GB", "TB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  // What would be rounded to 1000 is 1.0 of the next unit.
  for (; value >= 999.5 && unit + 1 < kUnits.size(); ++unit)
    value /= 1000;
  const int digits = unit > 0 && value < 99.95 ? 1 : 0;
  return fmt::format("{:.{}f} {}", value, digits, kUnits.at(unit));
}

}  // namespace limn
