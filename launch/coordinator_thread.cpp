#include "launch/coordinator_thread.h"

#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <utility>

#include <spdlog/spdlog.h>

#include "launch/stop_signal.h"
#include "launch/terminal.h"

namespace limn {

CoordinatorThread::CoordinatorThread(
    const ProcessMesh& mesh,
    RunDirectory& run_directory,
    RunJournal& journal,
    RunDeadline& deadline,
    double timeout_s,
    const Make& make,
    JobEnd job_end)
    : run_directory_(run_directory),
      journal_(journal),
      deadline_(deadline),
      progress_line_(describe_terminal(STDERR_FILENO), std::cerr),
      service_(make(options(mesh, timeout_s))),
      job_end_(std::move(job_end)),
      thread_([this] { serve(); }) {}

CoordinatorThread::~CoordinatorThread() {
  abandon();
  join();
}

void CoordinatorThread::abandon() {
  service_->abandon();
}

void CoordinatorThread::join() {
  if (thread_.joinable()) thread_.join();
}

void CoordinatorThread::serve() {
  try {
    outcome_ = service_->run();
    progress_line_.finish(last_progress_);
    const bool at_once = noted_stop_ == StopRequest::Now;
    if (at_once && outcome_ == RunOutcome::Stopped) job_end_.leave(num_durable_batches());
  } catch (...) {
    failure_ = std::current_exception();
  }
  if (failure_ && !service_->has_left_in_order()) job_end_.fail(failure_);
}

ServiceOptions CoordinatorThread::options(const ProcessMesh& mesh, double timeout_s) {
  ServiceOptions options;
  for (int group = 0; group < mesh.num_groups(); ++group)
    options.leaders.push_back(mesh.leader_of(group));
  options.stop_request = [this] { return stop_request(); };
  options.has_time_for = [this](double seconds) { return has_time_for(seconds); };
  // Ranks of a group that miss each other say more of it: they come first.
  options.timeout_s = timeout_s + 10;
  options.report = [this](const Progress& progress) {
    last_progress_ = progress;
    progress_line_.update(progress);
    journal_.progress(progress);
    if (num_durable_batches() > 0) leave_with_on_second_signal(ExitCode::Stopped);
  };
  options.sealed = [this](const SealReport& part) { journal_.sealed(part); };
  options.sample_failed = [this](const FailedSample& sample) { journal_.sample_failed(sample); };
  return options;
}

// The most urgent one so far of those of signals, the stop file and the deadline.
StopRequest CoordinatorThread::stop_request() {
  note_stop(requested_stop(), requesting_signal());
  note_stop(stop_file_request(), "the file `stop`");
  if (!deadline_.has_time_for(0)) note_stop(StopRequest::Now, "the end of the time");
  return noted_stop_;
}

// The stop file is looked for once a second: it may lie on a file system across a network.
StopRequest CoordinatorThread::stop_file_request() {
  const auto now = std::chrono::steady_clock::now();
  if (!stop_file_seen_ && now - stop_file_looked_for_ > std::chrono::seconds(1)) {
    stop_file_looked_for_ = now;
    stop_file_seen_ = run_directory_.stop_requested();
    if (stop_file_seen_) run_directory_.clear_stop_request();
  }
  return stop_file_seen_ ? StopRequest::FinishPart : StopRequest::None;
}

bool CoordinatorThread::has_time_for(double seconds) {
  const bool has_time = deadline_.has_time_for(seconds);
  if (!has_time) note_stop(StopRequest::FinishPart, "the time, too short for another batch");
  return has_time;
}

void CoordinatorThread::note_stop(StopRequest request, std::string_view by) {
  if (request <= noted_stop_) return;
  noted_stop_ = request;
  journal_.stop_requested(by, request);
  spdlog::info(
      "asked to stop by {}: {}",
      by,
      request == StopRequest::Now ? "keeping what is complete"
                                  : "finishing the batches that are being computed");
}

}  // namespace limn
