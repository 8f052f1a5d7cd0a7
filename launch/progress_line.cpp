#include "launch/progress_line.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "launch/quantity_text.h"
#include "launch/visible_text.h"

namespace limn {

namespace {

constexpr std::int64_t kFewestColumns = 20;
constexpr double kSecondsBetweenDrawings = 0.2;
constexpr double kSecondsToFirstLogLine = 10;
constexpr double kSecondsBetweenLogLines = 60;

// Nothing before the first batch.
std::optional<std::string> rate(const Progress& progress) {
  const std::optional<double> rate = rows_per_second(progress);
  if (!rate) return std::nullopt;
  return rate_text(*rate);
}

// Nothing before the first batch and after the last.
std::optional<std::string> time_left(const Progress& progress) {
  const std::optional<double> seconds = seconds_left(progress);
  if (!seconds) return std::nullopt;
  return fmt::format("{} left", duration_text(*seconds));
}

double share(std::int64_t done, std::int64_t total) {
  if (total <= 0) return 0;
  return std::clamp(static_cast<double>(done) / static_cast<double>(total), 0.0, 1.0);
}

// By batches, which are alike, where their number is known.
double fraction_done(const Progress& progress) {
  return progress.batches_total > 0 ? share(progress.batches_done, progress.batches_total)
                                    : share(progress.samples_done, progress.samples_total);
}

constexpr std::string_view kFullBlock = "\u2588";
// Filled from the left by so many eighths.
constexpr std::array<std::string_view, 8> kPartialBlocks = {
    "", "\u258f", "\u258e", "\u258d", "\u258c", "\u258b", "\u258a", "\u2589"};
constexpr std::string_view kLeftEdge = "\u2595";
constexpr std::string_view kRightEdge = "\u258f";

std::string bar(double fraction, std::int64_t columns) {
  const auto eighths = static_cast<std::int64_t>(fraction * static_cast<double>(8 * columns));
  std::string text;
  for (std::int64_t i = 0; i < eighths / 8; ++i)
    text += kFullBlock;
  text += kPartialBlocks.at(static_cast<std::size_t>(eighths % 8));
  const std::int64_t columns_filled = (eighths + 7) / 8;
  return text.append(static_cast<std::size_t>(columns - columns_filled), ' ');
}

}  // namespace

std::string progress_summary(const Progress& progress) {
  std::vector<std::string> facts = {
      fmt::format("{}/{} samples", progress.samples_done, progress.samples_total)};
  if (progress.batches_total > 0) {
    facts.push_back(fmt::format("{}/{} batches", progress.batches_done, progress.batches_total));
  }
  if (const auto text = rate(progress)) facts.push_back(*text);
  if (const auto text = time_left(progress)) facts.push_back(*text);
  return fmt::format("{}", fmt::join(facts, ", "));
}

std::string progress_bar(const Progress& progress, std::int64_t columns) {
  constexpr std::int64_t kFewestBarColumns = 8;
  constexpr std::int64_t kMostBarColumns = 30;
  const double fraction = fraction_done(progress);
  const std::string text =
      fmt::format("{:3.0f} %  {}", std::floor(100 * fraction), progress_summary(progress));
  // Between its two edges, and a space after them.
  const std::int64_t columns_left = columns - static_cast<std::int64_t>(text.size()) - 3;
  if (columns_left < kFewestBarColumns) return shortened_line(text, columns);
  const std::string drawn = bar(fraction, std::min(columns_left, kMostBarColumns));
  return fmt::format("{}{}{} {}", kLeftEdge, drawn, kRightEdge, text);
}

void ProgressLine::update(const Progress& progress) {
  const double rest_s = terminal_.is_terminal ? kSecondsBetweenDrawings : kSecondsBetweenLogLines;
  const double first_s = terminal_.is_terminal ? 0 : kSecondsToFirstLogLine;
  const double next_at_s = has_told_ ? told_at_s_ + rest_s : first_s;
  if (progress.elapsed_s >= next_at_s) tell(progress);
}

void ProgressLine::finish(const Progress& progress) {
  tell(progress);
  if (terminal_.is_terminal) out_ << '\n' << std::flush;
}

void ProgressLine::tell(const Progress& progress) {
  has_told_ = true;
  told_at_s_ = progress.elapsed_s;
  if (!terminal_.is_terminal) return spdlog::info("{}", progress_summary(progress));
  // The last column stays free: some terminals go on to the next line once it is filled.
  const std::int64_t columns = std::max(terminal_.columns - 1, kFewestColumns);
  out_ << "\r" << progress_bar(progress, columns) << "\x1b[K" << std::flush;
}

}  // namespace limn
