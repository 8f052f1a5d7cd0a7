#include "launch/status_command.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "launch/status_page.h"

namespace limn {

namespace {

using nlohmann::ordered_json;

constexpr std::size_t kMostFailures = 10;
constexpr int kRunningExitCode = 2;

template <typename T>
ordered_json value_or_null(const std::optional<T>& value) {
  return value ? ordered_json(*value) : ordered_json(nullptr);
}

ordered_json text_or_null(const std::string& text) {
  return text.empty() ? ordered_json(nullptr) : ordered_json(text);
}

ordered_json time_or_null(const std::optional<SystemTime>& time) {
  return time ? ordered_json(utc_text(*time)) : ordered_json(nullptr);
}

// To the millisecond.
double rounded(double seconds) {
  return std::round(seconds * 1e3) / 1e3;
}

ordered_json owner_json(const std::optional<RunOwner>& owner) {
  if (!owner) return nullptr;
  const bool is_known = !owner->host.empty();
  return {
      {"host", text_or_null(owner->host)},
      {"process", is_known ? ordered_json(owner->process) : ordered_json(nullptr)},
      {"slurm_job_id", text_or_null(owner->job_id)},
      {"epoch", is_known ? ordered_json(owner->epoch) : ordered_json(nullptr)},
      {"started", text_or_null(owner->started)}};
}

ordered_json start_json(const std::optional<RunStart>& start) {
  if (!start) return nullptr;
  return {
      {"time", utc_text(start->time)},
      {"version", start->version},
      {"host", start->host},
      {"process", start->process},
      {"ranks", start->ranks},
      {"groups", start->groups},
      {"tensor_parallel", start->tensor_parallel},
      {"slurm_job_id", text_or_null(start->slurm_job_id)},
      {"slurm_restart_count", text_or_null(start->slurm_restart_count)}};
}

ordered_json end_json(const std::optional<RunEnd>& end) {
  if (!end) return nullptr;
  return {
      {"event", end->event},
      {"time", utc_text(end->time)},
      {"exit_code", end->exit_code},
      {"message", text_or_null(end->message)}};
}

ordered_json seconds_json(const RunHistory& history) {
  if (history.num_starts == 0) return nullptr;
  return {
      {"at_work", rounded(history.at_work_s)},
      {"reading", rounded(history.reading_s)},
      {"loading", rounded(history.loading_s)},
      {"sealing", rounded(history.sealing_s)},
      {"merging", rounded(history.merging_s)}};
}

ordered_json failures_json(const RunStatus& status, std::size_t most) {
  ordered_json failures = ordered_json::array();
  for (std::size_t i = 0; i < std::min(most, status.failures.size()); ++i) {
    const SampleFailure& failure = status.failures[i];
    failures.push_back(
        {{"index", failure.index}, {"id", failure.id}, {"message", failure.message}});
  }
  return failures;
}

ordered_json status_json(const RunStatus& status, std::size_t most_failures) {
  return {
      {"format", "limn.status"},
      {"format_version", 1},
      {"path", status.path.string()},
      {"state", name_of(status.state)},
      {"owner", owner_json(status.owner)},
      {"samples",
       {{"total", value_or_null(status.num_samples)},
        {"done", status.samples_done},
        {"failed", status.samples_failed},
        {"skipped", status.samples_skipped}}},
      {"batches",
       {{"total", value_or_null(status.history.num_batches)},
        {"done", value_or_null(status.batches_done)}}},
      {"prompts_answered", value_or_null(status.prompts_answered)},
      {"rows_per_second", value_or_null(status.rows_per_second)},
      {"time_left_s", value_or_null(status.time_left_s)},
      {"parts",
       {{"count", status.num_parts},
        {"bytes", status.part_bytes},
        {"last_sealed", time_or_null(status.last_sealed)},
        {"unreadable", status.unreadable_parts}}},
      {"bytes", status.bytes},
      {"starts", status.history.num_starts},
      {"last_start", start_json(status.history.last_start)},
      {"stop_asked_by", value_or_null(status.history.stop_asked_by)},
      {"last_end", end_json(status.history.last_end)},
      {"seconds", seconds_json(status.history)},
      {"failed_samples", failures_json(status, most_failures)}};
}

}  // namespace

int status(
    const StatusOptions& options, SystemTime now, const Terminal& terminal, std::ostream& out) {
  const RunStatus status = read_run_status(options.path, now);
  const std::size_t most_failures = options.all_failures ? status.failures.size() : kMostFailures;
  if (options.as_json) {
    out << status_json(status, most_failures)
               .dump(2, ' ', false, ordered_json::error_handler_t::replace)
        << '\n';
  } else {
    write_status_page(status, {.most_failures = most_failures, .now = now}, terminal, out);
  }
  return options.tells_by_exit_code ? exit_code_of(status) : static_cast<int>(ExitCode::Done);
}

int exit_code_of(const RunStatus& status) {
  switch (status.state) {
    case RunState::Complete:
      return static_cast<int>(ExitCode::Done);
    case RunState::Stopped:
      return static_cast<int>(ExitCode::Stopped);
    case RunState::NotStarted:
      return static_cast<int>(ExitCode::NoProgress);
    case RunState::Running:
      return kRunningExitCode;
    case RunState::Failed: {
      const int code = status.history.last_end ? status.history.last_end->exit_code : 0;
      return code > 0 ? code : static_cast<int>(ExitCode::Internal);
    }
  }
  throw InternalError("a state that there is not");
}

}  // namespace limn
