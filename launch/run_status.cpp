#include "launch/run_status.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <iterator>
#include <map>
#include <string_view>
#include <system_error>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "launch/run_metrics.h"
#include "storage/error.h"
#include "storage/generated_targets.h"
#include "storage/part_contents.h"

namespace limn {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// A field of an event; nothing where it is missing or of another type.
template <typename T>
std::optional<T> field(const json& event, const char* name) {
  const auto found = event.find(name);
  if (found == event.end()) return std::nullopt;
  if constexpr (std::is_same_v<T, std::string>) {
    if (!found->is_string()) return std::nullopt;
  } else if constexpr (std::is_same_v<T, bool>) {
    if (!found->is_boolean()) return std::nullopt;
  } else if constexpr (std::is_integral_v<T>) {
    if (!found->is_number_integer()) return std::nullopt;
  } else {
    if (!found->is_number()) return std::nullopt;
  }
  return found->get<T>();
}

std::string text_field(const json& event, const char* name) {
  return field<std::string>(event, name).value_or("");
}

std::int64_t number_field(const json& event, const char* name) {
  return field<std::int64_t>(event, name).value_or(0);
}

double seconds_field(const json& event, const char* name) {
  return field<double>(event, name).value_or(0);
}

double seconds_between(SystemTime begin, SystemTime end) {
  return std::max(0.0, std::chrono::duration<double>(end - begin).count());
}

// Sums up the events as they come.
class HistoryReader {
 public:
  void take(const json& event) {
    const auto time = time_of_utc_text(text_field(event, "time"));
    if (!time) return;
    const std::string name = text_field(event, "event");
    if (name == "start") begin(event, *time);
    if (history_.num_starts == 0) return;
    last_event_ = *time;
    if (name == "surveyed") take_survey(event);
    if (name == "loaded") history_.loading_s += seconds_field(event, "seconds");
    if (name == "sealed") history_.sealing_s += seconds_field(event, "seconds");
    if (name == "stop_requested") history_.stop_asked_by = text_field(event, "by");
    if (name == "stopped" || name == "done" || name == "error") end(event, name, *time);
  }

  // `live`: the last start is at work.
  RunHistory finish(bool live, SystemTime now) {
    if (live) last_event_ = now;
    end_start();
    return std::move(history_);
  }

 private:
  void begin(const json& event, SystemTime time) {
    end_start();
    // What was there before was moved away, or lost before anything was sealed.
    if (!field<bool>(event, "continues").value_or(true)) history_ = {};
    ++history_.num_starts;
    history_.last_start = {
        .time = time,
        .version = text_field(event, "version"),
        .host = text_field(event, "host"),
        .process = number_field(event, "process"),
        .ranks = number_field(event, "ranks"),
        .groups = number_field(event, "groups"),
        .tensor_parallel = number_field(event, "tensor_parallel"),
        .slurm_job_id = text_field(event, "slurm_job_id"),
        .slurm_restart_count = text_field(event, "slurm_restart_count")};
    epoch_ = field<std::int64_t>(event, "epoch");
    history_.last_end.reset();
    history_.stop_asked_by.reset();
  }

  void take_survey(const json& event) {
    if (const auto samples = field<std::int64_t>(event, "samples")) history_.num_samples = samples;
    if (const auto batches = field<std::int64_t>(event, "batches")) history_.num_batches = batches;
    history_.reading_s += seconds_field(event, "seconds");
  }

  // Ranks may fail one after the other: the first one says why. An owner that lost the run may end
  // after the next one has begun.
  void end(const json& event, const std::string& name, SystemTime time) {
    const auto epoch = field<std::int64_t>(event, "epoch");
    if (history_.last_end || (epoch && epoch_ && *epoch != *epoch_)) return;
    history_.last_end = {
        .event = name,
        .time = time,
        .exit_code = static_cast<int>(number_field(event, "exit_code")),
        .message = text_field(event, "message")};
    history_.merging_s += seconds_field(event, "merge_seconds");
  }

  void end_start() {
    if (!history_.last_start) return;
    history_.at_work_s += seconds_between(history_.last_start->time, last_event_);
  }

  RunHistory history_;
  std::optional<std::int64_t> epoch_;  // of the last start
  SystemTime last_event_;
};

RunHistory read_history(const fs::path& run, bool live, SystemTime now) {
  HistoryReader reader;
  read_events(event_log_path(run), [&](const json& event) { reader.take(event); });
  return reader.finish(live, now);
}

// Samples put together from the parts that hold some of their units.
class SampleCounter {
 public:
  void take(const PartContents& contents) {
    // A batch is in two parts where two processes took the run for theirs: then it counts once.
    const bool overlaps = std::ranges::any_of(
        contents.batch_ids, [this](std::int64_t batch) { return batches_.contains(batch); });
    batches_.insert(contents.batch_ids.begin(), contents.batch_ids.end());
    for (const PartSample& sample : contents.samples)
      add(sample, overlaps);
  }

  void fill(RunStatus& status) {
    for (const auto& [index, sample] : samples_) {
      const bool is_done = sample.status != SampleStatus::Ok || sample.measured >= sample.units;
      if (is_done) ++status.samples_done;
      if (sample.status == SampleStatus::Failed) ++status.samples_failed;
      if (sample.status == SampleStatus::Skipped) ++status.samples_skipped;
    }
    for (auto& [index, failure] : failures_)
      status.failures.push_back(std::move(failure));
  }

  std::int64_t num_batches() const { return std::ssize(batches_); }

 private:
  struct Sample {
    SampleStatus status = SampleStatus::Ok;
    std::int64_t units = 0;
    std::int64_t measured = 0;
  };

  void add(const PartSample& part, bool overlaps) {
    Sample& sample = samples_[part.index];
    sample.units = part.num_units;
    sample.measured = overlaps ? std::max(sample.measured, part.num_measured_units)
                               : sample.measured + part.num_measured_units;
    // As in the result: a sample that failed in one part has failed.
    if (part.status == SampleStatus::Ok || sample.status == SampleStatus::Failed) return;
    sample.status = part.status;
    if (part.status == SampleStatus::Failed)
      failures_.try_emplace(part.index, SampleFailure{part.index, part.id, part.message});
  }

  std::unordered_map<std::int64_t, Sample> samples_;  // by index
  std::map<std::int64_t, SampleFailure> failures_;    // by index
  std::unordered_set<std::int64_t> batches_;
};

// The result, if it is there and whole.
std::optional<PartContents> read_result(const fs::path& run) {
  const fs::path path = run / "relevance.h5";
  std::error_code unknown;
  if (!fs::exists(path, unknown)) return std::nullopt;
  try {
    PartContents contents = read_part_contents(path);
    if (contents.is_complete) return contents;
  } catch (const Error&) {
    // Damaged, or moved away meanwhile: what counts are the parts.
  }
  return std::nullopt;
}

// A file's size and when it was written; nothing if it is gone.
struct FileFacts {
  std::int64_t bytes = 0;
  SystemTime written;
};

std::optional<FileFacts> facts_of(const fs::path& path) {
  std::error_code code;
  const auto bytes = fs::file_size(path, code);
  if (code) return std::nullopt;
  const auto written = fs::last_write_time(path, code);
  if (code) return std::nullopt;
  return FileFacts{
      .bytes = static_cast<std::int64_t>(bytes),
      .written = std::chrono::time_point_cast<SystemTime::duration>(
          std::chrono::file_clock::to_sys(written))};
}

void count_part_files(const std::vector<fs::path>& parts, RunStatus& status) {
  for (const fs::path& part : parts) {
    const auto facts = facts_of(part);
    if (!facts) continue;
    ++status.num_parts;
    status.part_bytes += facts->bytes;
    status.last_sealed = std::max(status.last_sealed.value_or(facts->written), facts->written);
  }
}

void read_parts(const std::vector<fs::path>& parts, RunStatus& status) {
  SampleCounter counter;
  for (const fs::path& part : parts) {
    try {
      counter.take(read_part_contents(part));
    } catch (const Error&) {
      std::error_code unknown;
      if (fs::exists(part, unknown)) status.unreadable_parts.push_back(part.filename().string());
    }
  }
  counter.fill(status);
  status.batches_done = counter.num_batches();
}

std::int64_t bytes_of_directory(const fs::path& run) {
  std::int64_t bytes = 0;
  std::error_code code;
  fs::recursive_directory_iterator entry(run, fs::directory_options::skip_permission_denied, code);
  for (const fs::recursive_directory_iterator end; !code && entry != end; entry.increment(code)) {
    std::error_code gone;
    const bool is_file = entry->is_regular_file(gone) && !entry->is_symlink(gone);
    const auto size = is_file && !gone ? entry->file_size(gone) : 0;
    if (!gone) bytes += static_cast<std::int64_t>(size);
  }
  return bytes;
}

// Lines of the file of targets; that of a record's last one may be cut.
std::optional<std::int64_t> count_answers(const fs::path& run) {
  std::ifstream file(generated_targets_path(run), std::ios::binary);
  if (!file) return std::nullopt;
  return std::count(std::istreambuf_iterator<char>(file), {}, '\n');
}

// The rate and the time left of the start that is at work, unless the file is an earlier one's.
void read_rate(RunStatus& status, SystemTime now) {
  if (!status.history.last_start) return;
  const auto values = read_metrics(metrics_path(status.path));
  const auto value = [&](const char* name) -> std::optional<double> {
    const auto found = values.find(name);
    if (found == values.end()) return std::nullopt;
    return found->second;
  };
  const auto seconds = [](SystemTime time) {
    return std::chrono::duration<double>(time.time_since_epoch()).count();
  };
  constexpr double kClockTicks_s = 1;
  const auto start = value("limn_start_timestamp_seconds");
  if (!start || *start < seconds(status.history.last_start->time) - kClockTicks_s) return;
  status.rows_per_second = value("limn_rows_per_second");
  status.time_left_s = value("limn_time_left_seconds");
  const double age_s = seconds(now) - value("limn_update_timestamp_seconds").value_or(seconds(now));
  if (status.time_left_s) status.time_left_s = std::max(0.0, *status.time_left_s - age_s);
}

RunState state_of(const RunStatus& status, bool is_complete) {
  if (status.owner) return RunState::Running;
  if (is_complete) return RunState::Complete;
  const auto& end = status.history.last_end;
  if (end && end->event == "error") return RunState::Failed;
  const bool has_results = status.num_parts > 0 || status.prompts_answered.value_or(0) > 0;
  return has_results ? RunState::Stopped : RunState::NotStarted;
}

}  // namespace

std::string_view name_of(RunState state) {
  switch (state) {
    case RunState::NotStarted:
      return "not_started";
    case RunState::Running:
      return "running";
    case RunState::Stopped:
      return "stopped";
    case RunState::Complete:
      return "complete";
    case RunState::Failed:
      return "failed";
  }
  throw InternalError("a state that there is not");
}

RunStatus read_run_status(const fs::path& path, SystemTime now) {
  RunStatus status;
  status.path = path;
  std::error_code code;
  const fs::file_status file = fs::status(path, code);
  if (file.type() == fs::file_type::not_found) return status;
  if (code) throw IoError(fmt::format("{}: cannot be read: {}", path.string(), code.message()));
  if (file.type() != fs::file_type::directory)
    throw DataError(fmt::format("{}: not a run directory", path.string()));

  // First of all: what it does until the end of this look is not taken for the end of it.
  status.owner = live_owner(path);
  const std::optional<PartContents> result = read_result(path);
  const std::vector<fs::path> parts = list_part_files(path);
  count_part_files(parts, status);
  status.history = read_history(path, status.owner.has_value(), now);
  status.num_samples = status.history.num_samples;
  status.prompts_answered = count_answers(path);
  if (result) {
    SampleCounter counter;
    counter.take(*result);
    counter.fill(status);
    status.num_samples = std::ssize(result->samples);
    status.batches_done = status.history.num_batches;
  } else {
    read_parts(parts, status);
  }
  status.bytes = bytes_of_directory(path);
  if (status.owner) read_rate(status, now);
  status.state = state_of(status, result.has_value());
  return status;
}

}  // namespace limn
