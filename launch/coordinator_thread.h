// The coordinator, as a thread beside the worker of the same rank.
#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <thread>

#include "coordinator/leader_service.h"
#include "coordinator/progress.h"
#include "coordinator/stop_request.h"
#include "launch/progress_line.h"
#include "launch/run_journal.h"
#include "sharding/process_mesh.h"
#include "storage/run_directory.h"

namespace limn {

// Runs a service from construction until it ends, and tells a person and the run's journal how far
// it is. Borrows: the run directory and the journal. Threads: one thread at a time.
class CoordinatorThread {
 public:
  // What makes the service, which outlives the call, from how it is to talk to those outside.
  using Make = std::function<std::unique_ptr<LeaderService>(ServiceOptions options)>;

  // `leave` ends the job and does not return; it is called on the coordinator's thread, after what
  // is complete is durable, when a signal asked to stop at once: the worker may be deep in a sweep.
  CoordinatorThread(
      const ProcessMesh& mesh,
      RunDirectory& run_directory,
      RunJournal& journal,
      const Make& make,
      std::function<void(std::int64_t num_durable_batches)> leave);

  // Abandons and joins.
  ~CoordinatorThread();
  CoordinatorThread(const CoordinatorThread&) = delete;
  CoordinatorThread& operator=(const CoordinatorThread&) = delete;

  // Makes what is complete durable and stops serving, because the job is about to be ended.
  void abandon();

  // Waits for the end. What follows may be asked afterwards.
  void join();

  std::exception_ptr failure() const { return failure_; }

  RunOutcome outcome() const { return outcome_; }

  std::int64_t num_durable_batches() const { return service_->num_durable_batches(); }

 private:
  void serve();
  ServiceOptions options(const ProcessMesh& mesh);
  StopRequest stop_request();
  void look_for_stop_file();

  RunDirectory& run_directory_;
  RunJournal& journal_;
  Progress last_progress_;
  ProgressLine progress_line_;
  bool stop_file_seen_ = false;
  StopRequest told_request_ = StopRequest::None;  // the journal
  std::chrono::steady_clock::time_point stop_file_looked_for_;
  std::unique_ptr<LeaderService> service_;
  std::function<void(std::int64_t)> leave_;
  RunOutcome outcome_ = RunOutcome::Stopped;
  std::exception_ptr failure_;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace limn
