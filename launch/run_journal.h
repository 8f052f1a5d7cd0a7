// What a start tells programs that watch the run: RUN/events.jsonl and RUN/metrics.prom.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

#include <nlohmann/json.hpp>

#include "coordinator/batch_source.h"
#include "coordinator/leader_service.h"
#include "coordinator/progress.h"
#include "launch/run_metrics.h"
#include "storage/error.h"
#include "storage/event_log.h"

namespace limn {

// How many processes share the work, and how.
struct StartShape {
  int ranks = 1;
  int groups = 1;
  int tensor_parallel = 1;
  std::int64_t epoch = 0;  // RunOwner::epoch
};

// Keeps both files, from construction to destruction. Nothing here throws or fails the run.
// Threads: any thread.
class RunJournal {
 public:
  // The start begins. Requires: the run's directory is this process's alone.
  RunJournal(const std::filesystem::path& run_folder, const StartShape& shape);

  // The dataset was read; once more when the model has given the targets.
  void surveyed(const DatasetSurvey& survey, std::int64_t num_finished_batches, double seconds);

  // The weights are in memory.
  void loaded(double seconds);

  void progress(const Progress& progress);
  void sealed(const SealReport& part);
  void sample_failed(const FailedSample& sample);

  // `by`: "SIGUSR1", "the stop file" and the like.
  void stop_requested(std::string_view by, StopRequest request);

  // The end of the start, one of these. They write the metrics before they return.
  void stopped(ExitCode exit_code, std::int64_t num_durable_batches);
  void done(std::int64_t num_durable_batches, double merge_seconds);
  void failed(const FailureText& failure);
  void failed_elsewhere();  // on a rank that has told of it itself

 private:
  void end(bool is_complete);

  // The start's epoch and these: one that has lost the run meanwhile is told from the next.
  nlohmann::ordered_json ending(const nlohmann::ordered_json& fields) const;

  std::int64_t epoch_;
  EventLog events_;
  MetricsFile metrics_;
};

// A rank that does not coordinate tells why the start fails. Requires: the coordinator's rank has
// opened the run's directory in this start.
void tell_of_failure(const std::filesystem::path& run_folder, int rank, const FailureText& failure);

}  // namespace limn
