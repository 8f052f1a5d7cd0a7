// How far a run is.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>

namespace limn {

// Totals are those of the whole run; rows and time count from this start, so that a resume does not
// spoil an estimate.
struct Progress {
  std::int64_t samples_done = 0;
  std::int64_t samples_total = 0;
  std::int64_t batches_done = 0;
  std::int64_t batches_total = 0;  // 0: not known
  std::int64_t rows_done = 0;      // by this start
  std::int64_t rows_total = 0;     // that this start has to do
  double elapsed_s = 0;            // since this start
};

// Of this start. Nothing before its first batch.
inline std::optional<double> rows_per_second(const Progress& progress) {
  if (progress.rows_done <= 0 || progress.elapsed_s <= 0) return std::nullopt;
  return static_cast<double>(progress.rows_done) / progress.elapsed_s;
}

// At the rate of this start. Nothing before its first batch and after its last.
inline std::optional<double> seconds_left(const Progress& progress) {
  if (progress.rows_done <= 0 || progress.rows_done >= progress.rows_total) return std::nullopt;
  const auto rows_left = static_cast<double>(progress.rows_total - progress.rows_done);
  return progress.elapsed_s * rows_left / static_cast<double>(progress.rows_done);
}

// Reports it some times a second. Threads: one thread at a time.
class ProgressReporter {
 public:
  explicit ProgressReporter(std::function<void(const Progress&)> report)
      : report_(std::move(report)) {}

  // With the time since construction as `elapsed_s`.
  void report(Progress& progress) {
    last_report_ = Clock::now();
    progress.elapsed_s = std::chrono::duration<double>(last_report_ - start_).count();
    report_(progress);
  }

  void report_if_due(Progress& progress) {
    constexpr auto kReportEvery = std::chrono::milliseconds(100);
    if (Clock::now() - last_report_ >= kReportEvery) report(progress);
  }

 private:
  using Clock = std::chrono::steady_clock;

  std::function<void(const Progress&)> report_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_report_ = start_;
};

}  // namespace limn
