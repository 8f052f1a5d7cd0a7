#include "launch/coordinator_thread.h"

#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <utility>

#include "launch/stop_signal.h"
#include "launch/terminal.h"

namespace limn {

CoordinatorThread::CoordinatorThread(
    const ProcessMesh& mesh,
    RunDirectory& run_directory,
    RunJournal& journal,
    const Make& make,
    std::function<void(std::int64_t num_durable_batches)> leave)
    : run_directory_(run_directory),
      journal_(journal),
      progress_line_(describe_terminal(STDERR_FILENO), std::cerr),
      service_(make(options(mesh))),
      leave_(std::move(leave)),
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
    const bool at_once = requested_stop() == StopRequest::Now;
    if (at_once && outcome_ == RunOutcome::Stopped) leave_(num_durable_batches());
  } catch (...) {
    failure_ = std::current_exception();
  }
}

ServiceOptions CoordinatorThread::options(const ProcessMesh& mesh) {
  ServiceOptions options;
  for (int group = 0; group < mesh.num_groups(); ++group)
    options.leaders.push_back(mesh.leader_of(group));
  options.stop_request = [this] { return stop_request(); };
  options.report = [this](const Progress& progress) {
    last_progress_ = progress;
    progress_line_.update(progress);
    journal_.progress(progress);
  };
  options.sealed = [this](const SealedPart& part) { journal_.sealed(part); };
  options.sample_failed = [this](const FailedSample& sample) { journal_.sample_failed(sample); };
  return options;
}

// A signal's request, or that of the stop file.
StopRequest CoordinatorThread::stop_request() {
  look_for_stop_file();
  const StopRequest by_signal = requested_stop();
  const StopRequest by_file = stop_file_seen_ ? StopRequest::FinishPart : StopRequest::None;
  const StopRequest request = std::max(by_signal, by_file);
  if (request > told_request_) {
    told_request_ = request;
    journal_.stop_requested(by_signal == request ? "a signal" : "the stop file", request);
  }
  return request;
}

// Once a second: it may lie on a file system across a network.
void CoordinatorThread::look_for_stop_file() {
  const auto now = std::chrono::steady_clock::now();
  if (stop_file_seen_ || now - stop_file_looked_for_ <= std::chrono::seconds(1)) return;
  stop_file_looked_for_ = now;
  stop_file_seen_ = run_directory_.stop_requested();
  if (stop_file_seen_) run_directory_.clear_stop_request();
}

}  // namespace limn
