#include "launch/run_deadline.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace limn {

namespace {

using Seconds = std::chrono::duration<double>;

// Of --max-hours: the rest is for what comes behind the last batch.
constexpr double kUsedHours = 0.99;

// For sealing, and for ranks and launcher to end.
constexpr auto kForTheEnd = std::chrono::seconds(15);

constexpr auto kAskEvery = std::chrono::seconds(20);

}  // namespace

RunDeadline::RunDeadline(std::optional<double> max_hours, Clock::time_point start, JobEnd job_end)
    : job_end_(std::move(job_end)) {
  if (max_hours) {
    const auto used = std::chrono::duration<double, std::ratio<3600>>(*max_hours * kUsedHours);
    last_hour_ = start + std::chrono::duration_cast<Clock::duration>(used);
  }
  ask_for_job_end();
}

bool RunDeadline::has_time_for(double seconds) {
  const bool may_ask = slurm_end_ && Clock::now() - asked_at_ >= kAskEvery;
  if (may_ask && seconds_left() < seconds) ask_for_job_end();
  return seconds_left() >= seconds;
}

double RunDeadline::seconds_left() const {
  const auto now = Clock::now();
  double left = std::numeric_limits<double>::infinity();
  for (const auto& end : {last_hour_, slurm_end_}) {
    if (end) left = std::min(left, Seconds(*end - now).count());
  }
  return left;
}

void RunDeadline::ask_for_job_end() {
  asked_at_ = Clock::now();
  const auto end = job_end_();
  if (!end) {
    slurm_end_.reset();
    return;
  }
  // The end is told by the clock on the wall.
  const auto left = *end - std::chrono::system_clock::now() - kForTheEnd;
  slurm_end_ = asked_at_ + std::chrono::duration_cast<Clock::duration>(left);
}

}  // namespace limn
