#include "launch/run_journal.h"

#include <unistd.h>

#include <array>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <exception>
#include <iterator>
#include <string>
#include <system_error>
#include <unordered_set>

#include <nlohmann/json.hpp>

#include "launch/version.h"
#include "storage/generated_targets.h"
#include "storage/part_contents.h"

namespace limn {

namespace {

using nlohmann::json;
using nlohmann::ordered_json;
namespace fs = std::filesystem;

std::string host_name() {
  std::array<char, 256> host = {};
  ::gethostname(host.data(), host.size() - 1);
  return host.data();
}

// What Slurm says of the job, if it started the process.
void add_slurm(ordered_json& fields) {
  constexpr std::array<std::array<const char*, 2>, 4> kVariables = {{
      {"slurm_job_id", "SLURM_JOB_ID"},
      {"slurm_restart_count", "SLURM_RESTART_COUNT"},
      {"slurm_array_job_id", "SLURM_ARRAY_JOB_ID"},
      {"slurm_array_task_id", "SLURM_ARRAY_TASK_ID"},
  }};
  for (const auto& [field, variable] : kVariables) {
    // Nobody in limn sets the environment.
    const char* const value = std::getenv(variable);  // NOLINT(concurrency-mt-unsafe)
    if (value != nullptr) fields[field] = value;
  }
}

ordered_json failure_fields(int rank, const FailureText& failure) {
  return {
      {"exit_code", static_cast<int>(failure.exit_code)},
      {"rank", rank},
      {"message", failure.message}};
}

// To the millisecond.
double rounded(double seconds) {
  return std::round(seconds * 1e3) / 1e3;
}

double seconds_since_1970() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// Whether an earlier start left anything to go on with: a part, a target or the result.
bool holds_results(const fs::path& run_folder) {
  std::error_code unknown;
  if (fs::exists(run_folder / "relevance.h5", unknown)) return true;
  const auto size_of_targets = fs::file_size(generated_targets_path(run_folder), unknown);
  return (!unknown && size_of_targets > 0) || !list_part_files(run_folder).empty();
}

ordered_json start_fields(const fs::path& run_folder, const StartShape& shape) {
  ordered_json fields = {
      {"continues", holds_results(run_folder)},
      {"epoch", shape.epoch},
      {"version", software_version()},
      {"host", host_name()},
      {"process", ::getpid()},
      {"ranks", shape.ranks},
      {"groups", shape.groups},
      {"tensor_parallel", shape.tensor_parallel}};
  add_slurm(fields);
  return fields;
}

// The samples that the starts before found to fail, if this one continues them.
std::int64_t num_failed_before(const fs::path& run_folder) {
  std::unordered_set<std::int64_t> samples;
  if (!holds_results(run_folder)) return 0;
  try {
    read_events(event_log_path(run_folder), [&](const json& event) {
      if (event["event"] == "start" && !event.value("continues", true)) samples.clear();
      if (event["event"] != "sample_failed" || !event.contains("index")) return;
      if (event["index"].is_number_integer()) samples.insert(event["index"].get<std::int64_t>());
    });
  } catch (const std::exception&) {
    // The log will warn when it is written.
  }
  return std::ssize(samples);
}

RunMetrics first_metrics(const fs::path& run_folder) {
  std::error_code unknown;
  const fs::path whole = fs::absolute(run_folder, unknown).lexically_normal();
  RunMetrics metrics;
  metrics.run = unknown ? run_folder.string() : whole.string();
  metrics.version = software_version();
  metrics.start_time_s = seconds_since_1970();
  metrics.samples_failed = num_failed_before(run_folder);
  return metrics;
}

// A count, unless it is not known yet.
ordered_json count_or_null(std::int64_t count, bool is_known) {
  return is_known ? ordered_json(count) : ordered_json(nullptr);
}

}  // namespace

RunJournal::RunJournal(const fs::path& run_folder, const StartShape& shape)
    : epoch_(shape.epoch),
      events_(event_log_path(run_folder)),
      metrics_(metrics_path(run_folder), first_metrics(run_folder)) {
  events_.append("start", start_fields(run_folder, shape));
}

void RunJournal::surveyed(
    const DatasetSurvey& survey, std::int64_t num_finished_batches, double seconds) {
  // Where the model gives the targets, batches are not known before it has.
  const bool knows_batches = survey.num_batches > 0 || survey.num_samples == 0;
  events_.append(
      "surveyed",
      {{"samples", survey.num_samples},
       {"skipped", survey.num_skipped},
       {"batches", count_or_null(survey.num_batches, knows_batches)},
       {"rows", count_or_null(survey.num_rows, knows_batches)},
       {"finished_batches", num_finished_batches},
       {"remaining_rows", count_or_null(survey.remaining_rows, knows_batches)},
       {"seconds", rounded(seconds)}});
  metrics_.update([&](RunMetrics& metrics) {
    metrics.samples = survey.num_samples;
    metrics.samples_skipped = survey.num_skipped;
    if (!knows_batches) return;
    metrics.batches = survey.num_batches;
    metrics.rows = survey.remaining_rows;
    metrics.batches_done = num_finished_batches;
  });
}

void RunJournal::loaded(double seconds) {
  events_.append("loaded", {{"seconds", rounded(seconds)}});
}

void RunJournal::progress(const Progress& progress) {
  metrics_.update([&](RunMetrics& metrics) {
    // Of prompts neither batches nor rows are those of the explanation.
    if (progress.batches_total == 0) {
      metrics.prompts_answered = progress.samples_done;
      return;
    }
    metrics.samples_done = progress.samples_done;
    metrics.batches_done = progress.batches_done;
    metrics.rows = progress.rows_total;
    metrics.rows_done = progress.rows_done;
    metrics.rows_per_second = rows_per_second(progress);
    metrics.time_left_s = seconds_left(progress);
  });
}

void RunJournal::sealed(const SealReport& part) {
  events_.append(
      "sealed",
      {{"part", part.name},
       {"batches", part.num_batches},
       {"samples", part.num_samples},
       {"seconds", rounded(part.seconds)}});
  metrics_.update([](RunMetrics& metrics) {
    ++metrics.parts_sealed;
    metrics.last_seal_time_s = seconds_since_1970();
  });
}

void RunJournal::sample_failed(const FailedSample& sample) {
  events_.append(
      "sample_failed", {{"index", sample.index}, {"id", sample.id}, {"message", sample.message}});
  metrics_.update([](RunMetrics& metrics) { ++metrics.samples_failed; });
}

void RunJournal::stop_requested(std::string_view by, StopRequest request) {
  events_.append("stop_requested", {{"by", by}, {"at_once", request == StopRequest::Now}});
}

void RunJournal::stopped(ExitCode exit_code, std::int64_t num_durable_batches) {
  events_.append(
      "stopped",
      ending({{"exit_code", static_cast<int>(exit_code)}, {"batches", num_durable_batches}}));
  end(false);
}

void RunJournal::done(std::int64_t num_durable_batches, double merge_seconds) {
  events_.append(
      "done",
      ending({{"batches", num_durable_batches}, {"merge_seconds", rounded(merge_seconds)}}));
  end(true);
}

void RunJournal::failed(const FailureText& failure) {
  events_.append("error", ending(failure_fields(0, failure)));
  end(false);
}

void RunJournal::failed_elsewhere() {
  end(false);
}

ordered_json RunJournal::ending(const ordered_json& fields) const {
  ordered_json whole = {{"epoch", epoch_}};
  whole.update(fields);
  return whole;
}

void RunJournal::end(bool is_complete) {
  metrics_.update([&](RunMetrics& metrics) {
    metrics.is_up = false;
    metrics.is_complete = is_complete;
    if (is_complete) {
      metrics.samples_done = metrics.samples.value_or(0);
      metrics.batches_done = metrics.batches.value_or(0);
    }
    metrics.rows_per_second.reset();
    metrics.time_left_s.reset();
  });
  metrics_.write();
}

void tell_of_failure(const fs::path& run_folder, int rank, const FailureText& failure) {
  EventLog(event_log_path(run_folder)).append("error", failure_fields(rank, failure));
}

}  // namespace limn
