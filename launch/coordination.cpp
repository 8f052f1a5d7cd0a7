#include "launch/coordination.h"

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <ATen/Parallel.h>
#include <fmt/ranges.h>

#include "coordinator/dataset_files.h"
#include "launch/job_file.h"
#include "launch/version.h"
#include "worker/decoder_cost.h"
#include "worker/end_tokens.h"
#include "worker/model_fingerprint.h"

namespace limn {

namespace {

// Deltas that differ, beyond rounding, from those of an earlier version of limn get a new number
// here, so that no run is continued with other arithmetic.
constexpr const char* kNumericsVersion = "3";

// A rule that cuts a dataset into other batches than an earlier version's gets a new number here:
// the ids of finished batches mean nothing under another rule.
constexpr const char* kPlanVersion = "3";

RunManifest manifest_of(
    const Job& job,
    const Checkpoint& checkpoint,
    SweepCompute arithmetic,
    const std::vector<std::int32_t>& end_tokens) {
  RunManifest manifest;
  const std::string model = model_fingerprint(checkpoint);
  manifest.fingerprint = value_fingerprint(job);
  manifest.fingerprint["dataset"] = dataset_fingerprint(job.data);
  manifest.fingerprint["model"] = model;
  manifest.fingerprint["numerics"] = kNumericsVersion;
  manifest.fingerprint["plan"] = kPlanVersion;
  if (generates_targets(job)) {
    manifest.fingerprint["end tokens"] = fmt::format("{}", fmt::join(end_tokens, ","));
  }
  manifest.attributes = {
      .job = to_toml(job),
      .model = model,
      .software_version = std::string(software_version()),
      .tensor_parallel = job.parallel.tensor_parallel,
      .dtype = std::string(name_of(arithmetic))};
  return manifest;
}

// A checkpoint without a tokenizer explains records of token ids.
std::unique_ptr<const Tokenizer> load_tokenizer(const std::filesystem::path& folder) {
  if (!Tokenizer::is_in(folder)) return nullptr;
  return std::make_unique<const Tokenizer>(Tokenizer::load(folder));
}

}  // namespace

Coordination prepare_coordination(
    const Job& job,
    const ModelConfig& model,
    const Checkpoint& checkpoint,
    SweepCompute arithmetic,
    const std::function<void(const RunDirectory&)>& opened) {
  auto tokenizer = load_tokenizer(job.model.path);
  const ModelLimits limits{
      .vocab_size = model.decoder.vocab_size,
      .max_positions = model.decoder.max_positions,
      .folder = job.model.path};
  auto chat_template = ChatTemplate::load(job.model.path);
  const SamplePreparer preparer(tokenizer.get(), job.explain, limits, chat_template.get());
  std::vector<std::int32_t> end_tokens;
  if (generates_targets(job)) end_tokens = read_end_tokens(job.model.path);
  RunManifest manifest = manifest_of(job, checkpoint, arithmetic, end_tokens);
  if (chat_template) manifest.fingerprint["chat_template"] = chat_template->fingerprint();
  RunDirectory run_directory = RunDirectory::open(job.output.path, manifest);
  opened(run_directory);
  auto finished_batches = run_directory.finished_batches();
  const SweepCost cost = sweep_cost(model.decoder);
  const DatasetSurvey survey =
      generates_targets(job)
          ? survey_prompts(job, preparer, at::get_num_threads())
          : survey_dataset(job, preparer, cost, finished_batches, at::get_num_threads());
  return {
      .tokenizer = std::move(tokenizer),
      .chat_template = std::move(chat_template),
      .preparer = preparer,
      .run_directory = std::move(run_directory),
      .sweep_cost = cost,
      .finished_batches = std::move(finished_batches),
      .survey = survey,
      .end_tokens = std::move(end_tokens)};
}

void survey_generated_targets(Coordination& coordination, const Job& job) {
  coordination.survey = survey_dataset(
      job,
      coordination.preparer,
      coordination.sweep_cost,
      coordination.finished_batches,
      at::get_num_threads());
}

}  // namespace limn
