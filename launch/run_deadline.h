// The time at which a start has to have ended by itself.
#pragma once

#include <chrono>
#include <functional>
#include <optional>

namespace limn {

// The earlier one of --max-hours and the end of the Slurm job. Threads: one thread at a time.
class RunDeadline {
 public:
  using Clock = std::chrono::steady_clock;
  // As slurm_job_end().
  using JobEnd = std::function<std::optional<std::chrono::system_clock::time_point>()>;

  // `max_hours`: from `start` on, of which 0.99 are used, as GROMACS does with its -maxh.
  explicit RunDeadline(std::optional<double> max_hours, Clock::time_point start, JobEnd job_end);

  // Whether what takes `seconds` from now on is done, and durable, in time. Of a Slurm job the last
  // 15 seconds are left for its end. Before it says no it asks for the job's end again, which may
  // have been moved, but not more often than every 20 seconds.
  bool has_time_for(double seconds);

 private:
  double seconds_left() const;
  void ask_for_job_end();

  std::optional<Clock::time_point> last_hour_;  // of --max-hours
  JobEnd job_end_;
  std::optional<Clock::time_point> slurm_end_;
  Clock::time_point asked_at_;
};

}  // namespace limn
