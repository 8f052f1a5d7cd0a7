// How a run stands, told from what lies in its directory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "storage/event_log.h"
#include "storage/run_owner.h"

namespace limn {

enum class RunState {
  NotStarted,  // nothing is computed yet
  Running,
  Stopped,  // or killed; the same job goes on
  Complete,
  Failed,  // the last start ended over an error
};

// "not_started", "running", "stopped", "complete" or "failed".
std::string_view name_of(RunState state);

struct SampleFailure {
  std::int64_t index = 0;  // in the dataset
  std::string id;
  std::string message;
};

// A start as its event describes it. Texts are empty where it says nothing.
struct RunStart {
  SystemTime time;
  std::string version;
  std::string host;
  std::int64_t process = 0;
  std::int64_t ranks = 0;
  std::int64_t groups = 0;
  std::int64_t tensor_parallel = 0;
  std::string slurm_job_id;
  std::string slurm_restart_count;
};

// How a start ended.
struct RunEnd {
  std::string event;  // "stopped", "done" or "error"
  SystemTime time;
  int exit_code = 0;
  std::string message;  // of an error
};

// What the events of all starts say, since the run was begun.
struct RunHistory {
  std::int64_t num_starts = 0;  // 0: there are no events
  std::optional<RunStart> last_start;
  std::optional<RunEnd> last_end;            // of the last start, if it told of it
  std::optional<std::string> stop_asked_by;  // of the last start
  std::optional<std::int64_t> num_samples;   // of the dataset
  std::optional<std::int64_t> num_batches;
  // Seconds, over all starts: from each one's first event to its last one, and of that.
  double at_work_s = 0;
  double reading_s = 0;  // the dataset
  double loading_s = 0;  // the model
  double sealing_s = 0;
  double merging_s = 0;
};

struct RunStatus {
  std::filesystem::path path;
  RunState state = RunState::NotStarted;
  std::optional<RunOwner> owner;  // while it runs; without a host where that is not known
  RunHistory history;

  // Of the parts or, once it is there, of the result.
  std::int64_t samples_done = 0;  // failed and skipped ones included
  std::int64_t samples_failed = 0;
  std::int64_t samples_skipped = 0;
  std::vector<SampleFailure> failures;  // all of them, by index
  std::optional<std::int64_t> num_samples;
  std::optional<std::int64_t> batches_done;      // none: complete, and nobody counted
  std::optional<std::int64_t> prompts_answered;  // where the model gives the targets

  std::int64_t num_parts = 0;
  std::int64_t part_bytes = 0;
  std::int64_t bytes = 0;                     // of all files of the directory
  std::vector<std::string> unreadable_parts;  // names
  std::optional<SystemTime> last_sealed;

  // Of the start that is at work, as it last wrote them down.
  std::optional<double> rows_per_second;
  std::optional<double> time_left_s;
};

// Looks at a run without writing anything, also while it computes: what vanishes meanwhile is not
// there. A directory that is not there is a run that was not started. Throws DataError when `path`
// is a file, IoError when something may not be read.
RunStatus read_run_status(const std::filesystem::path& path, SystemTime now);

}  // namespace limn
