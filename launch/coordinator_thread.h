// The coordinator, as a thread beside the worker of the same rank.
#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string_view>
#include <thread>

#include "coordinator/leader_service.h"
#include "coordinator/progress.h"
#include "coordinator/stop_request.h"
#include "launch/progress_line.h"
#include "launch/run_deadline.h"
#include "launch/run_journal.h"
#include "sharding/process_mesh.h"
#include "storage/run_directory.h"

namespace limn {

// What ends the job, and does not return: the worker may be deep in a sweep. Called on the
// coordinator's thread.
struct JobEnd {
  // After what is complete is durable, when it has to end at once.
  std::function<void(std::int64_t num_durable_batches)> leave;
  // When the service has failed and a leader is deep in a batch, too.
  std::function<void(std::exception_ptr)> fail;
};

// Runs a service from construction until it ends, and tells a person and the run's journal how far
// it is. Borrows: the run directory, the deadline and the journal. Threads: one thread at a time.
class CoordinatorThread {
 public:
  // What makes the service, which outlives the call, from how it is to talk to those outside.
  using Make = std::function<std::unique_ptr<LeaderService>(ServiceOptions options)>;

  // `timeout_s`: of parallel.timeout_s.
  CoordinatorThread(
      const ProcessMesh& mesh,
      RunDirectory& run_directory,
      RunJournal& journal,
      RunDeadline& deadline,
      double timeout_s,
      const Make& make,
      JobEnd job_end);

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
  ServiceOptions options(const ProcessMesh& mesh, double timeout_s);
  StopRequest stop_request();
  StopRequest stop_file_request();
  bool has_time_for(double seconds);
  void note_stop(StopRequest request, std::string_view by);

  RunDirectory& run_directory_;
  RunJournal& journal_;
  RunDeadline& deadline_;
  Progress last_progress_;
  ProgressLine progress_line_;
  bool stop_file_seen_ = false;
  std::chrono::steady_clock::time_point stop_file_looked_for_;
  StopRequest noted_stop_ = StopRequest::None;  // the most urgent one that was told
  std::unique_ptr<LeaderService> service_;
  JobEnd job_end_;
  RunOutcome outcome_ = RunOutcome::Stopped;
  std::exception_ptr failure_;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace limn
