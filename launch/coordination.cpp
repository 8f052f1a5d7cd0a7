#include "launch/coordination.h"

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <ATen/Parallel.h>
#include <fmt/ranges.h>

#include "coordinator/dataset_files.h"
#include "coordinator/dataset_shard.h"
#include "coordinator/finished_batches.h"
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
  DatasetContents dataset = dataset_contents(job.data);
  manifest.fingerprint[kDatasetKey] = dataset.fingerprint;
  manifest.dataset_files = std::move(dataset.files);
  manifest.fingerprint["model"] = model;
  manifest.fingerprint["weights"] = weights_fingerprint(checkpoint);
  if (const auto tokenizer = tokenizer_fingerprint(job.model.path))
    manifest.fingerprint["tokenizer"] = *tokenizer;
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

// Reads the dataset and compares the plan with what was computed before. Parts that hold batches of
// another plan are set aside with all that is in them, so it may take a second time.
void survey_batches(Coordination& coordination, const Job& job) {
  while (true) {
    FinishedBatches finished(coordination.run_directory.finished_contents());
    coordination.survey = survey_dataset(
        job,
        coordination.preparer,
        coordination.sweep_cost,
        [&](const PlannedBatch& planned) { return finished.holds(planned); },
        at::get_num_threads());
    const auto superseded = finished.superseded();
    if (superseded.empty()) break;
    coordination.run_directory.supersede(superseded);
  }
  coordination.finished_batches = coordination.run_directory.finished_batches();
}

}  // namespace

Coordination prepare_coordination(
    const Job& job,
    const ModelConfig& model,
    const Checkpoint& checkpoint,
    SweepCompute arithmetic,
    StartMode mode,
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
  Job of_shard = job;
  of_shard.data = find_shard(job.data);
  RunDirectory run_directory = RunDirectory::open(
      job.output.path, manifest, {.mode = mode, .objection_to_growth = [&](auto earlier) {
                                    return objection_to_growth(job.data, earlier);
                                  }});
  opened(run_directory);
  Coordination coordination{
      .tokenizer = std::move(tokenizer),
      .chat_template = std::move(chat_template),
      .preparer = preparer,
      .data = of_shard.data,
      .run_directory = std::move(run_directory),
      .sweep_cost = sweep_cost(model.decoder),
      .finished_batches = {},
      .survey = {},
      .end_tokens = std::move(end_tokens)};
  if (generates_targets(job)) {
    coordination.finished_batches = coordination.run_directory.finished_batches();
    coordination.survey = survey_prompts(of_shard, preparer, at::get_num_threads());
  } else {
    survey_batches(coordination, of_shard);
  }
  return coordination;
}

void survey_generated_targets(Coordination& coordination, const Job& job) {
  survey_batches(coordination, job);
}

}  // namespace limn
