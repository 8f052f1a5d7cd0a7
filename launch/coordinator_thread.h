// The coordinator, as a thread beside the worker of the same rank.
#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <thread>

#include "coordinator/batch_source.h"
#include "coordinator/job.h"
#include "coordinator/progress.h"
#include "coordinator/schedule.h"
#include "coordinator/stop_request.h"
#include "launch/coordination.h"
#include "launch/progress_line.h"
#include "sharding/process_mesh.h"

namespace limn {

// Serves the groups from construction until everything is computed or a stop is asked for, and
// tells a person how far it is. Borrows: everything. Threads: one thread at a time.
class CoordinatorThread {
 public:
  // `leave` ends the job and does not return; it is called on the coordinator's thread, after the
  // seal, when a signal asked to stop at once: the worker may be deep in a sweep.
  CoordinatorThread(
      const ProcessMesh& mesh,
      const Job& job,
      Coordination& coordination,
      std::function<void(std::int64_t num_sealed_batches)> leave);

  // Abandons and joins.
  ~CoordinatorThread();
  CoordinatorThread(const CoordinatorThread&) = delete;
  CoordinatorThread& operator=(const CoordinatorThread&) = delete;

  // Seals what is complete and stops serving, because the job is about to be ended.
  void abandon();

  // Waits for the end. What follows may be asked afterwards.
  void join();

  std::exception_ptr failure() const { return failure_; }

  RunOutcome outcome() const { return outcome_; }

  std::int64_t num_sealed_batches() const { return schedule_.num_sealed_batches(); }

 private:
  void serve();
  ScheduleOptions options(
      const ProcessMesh& mesh, const Job& job, const Coordination& coordination);
  StopRequest stop_request();

  RunDirectory& run_directory_;
  Progress last_progress_;
  ProgressLine progress_line_;
  bool stop_file_seen_ = false;
  std::chrono::steady_clock::time_point stop_file_looked_for_;
  BatchSource source_;
  Schedule schedule_;
  std::function<void(std::int64_t)> leave_;
  RunOutcome outcome_ = RunOutcome::Stopped;
  std::exception_ptr failure_;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace limn
