#include "launch/coordination.h"

#include <filesystem>
#include <string>
#include <utility>

#include "launch/job_file.h"
#include "launch/version.h"
#include "storage/fingerprint.h"
#include "worker/decoder_cost.h"
#include "worker/model_fingerprint.h"

namespace limn {

namespace {

// Deltas that differ, beyond rounding, from those of an earlier version of limn get a new number
// here, so that no run is continued with other arithmetic.
constexpr const char* kNumericsVersion = "2";

// A rule that cuts a dataset into other batches than an earlier version's gets a new number here:
// the ids of finished batches mean nothing under another rule.
constexpr const char* kPlanVersion = "2";

RunManifest manifest_of(const Job& job, const Checkpoint& checkpoint, SweepCompute arithmetic) {
  RunManifest manifest;
  const std::string model = model_fingerprint(checkpoint);
  manifest.fingerprint = value_fingerprint(job);
  manifest.fingerprint["dataset"] = file_fingerprint(job.data.path);
  manifest.fingerprint["model"] = model;
  manifest.fingerprint["numerics"] = kNumericsVersion;
  manifest.fingerprint["plan"] = kPlanVersion;
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
    SweepCompute arithmetic) {
  auto tokenizer = load_tokenizer(job.model.path);
  const ModelLimits limits{
      .vocab_size = model.decoder.vocab_size,
      .max_positions = model.decoder.max_positions,
      .folder = job.model.path};
  const SamplePreparer preparer(tokenizer.get(), job.explain, limits);
  RunDirectory run_directory =
      RunDirectory::open(job.output.path, manifest_of(job, checkpoint, arithmetic));
  auto finished_batches = run_directory.finished_batches();
  const SweepCost cost = sweep_cost(model.decoder);
  const DatasetSurvey survey = survey_dataset(job, preparer, cost, finished_batches);
  return {
      .tokenizer = std::move(tokenizer),
      .preparer = preparer,
      .run_directory = std::move(run_directory),
      .sweep_cost = cost,
      .finished_batches = std::move(finished_batches),
      .survey = survey};
}

}  // namespace limn
