// What the coordinator's rank has besides a model: the dataset, checked, and the run's directory.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_set>
#include <vector>

#include "coordinator/batch_source.h"
#include "coordinator/chat_template.h"
#include "coordinator/job.h"
#include "coordinator/sample.h"
#include "coordinator/sweep_cost.h"
#include "coordinator/tokenizer.h"
#include "storage/checkpoint.h"
#include "storage/run_directory.h"
#include "worker/model_family.h"
#include "worker/sweep_compute.h"

namespace limn {

struct Coordination {
  std::unique_ptr<const Tokenizer> tokenizer;         // null: the checkpoint has none
  std::unique_ptr<const ChatTemplate> chat_template;  // null: the checkpoint has none
  SamplePreparer preparer;                            // borrows the tokenizer and the chat template
  DataOptions data;                                   // the job's shard, found
  RunDirectory run_directory;
  SweepCost sweep_cost;  // of the model
  // Where the model gives the targets, those of the parts, until survey_generated_targets() has
  // compared them with the plan.
  std::unordered_set<std::int64_t> finished_batches;
  // Where the model gives the targets, of the prompts alone: batches and rows are not known before.
  DatasetSurvey survey;
  std::vector<std::int32_t> end_tokens;  // of the model; empty unless it gives the targets
};

// Opens the run's directory, by default continuing an earlier start, and reads the dataset from end
// to end, on as many threads as the rank computes with. `opened` is called in between: the
// directory is this start's then. Throws what Tokenizer::load, RunDirectory::open and
// survey_dataset throw.
Coordination prepare_coordination(
    const Job& job,
    const ModelConfig& model,
    const Checkpoint& checkpoint,
    SweepCompute arithmetic,
    StartMode mode,
    const std::function<void(const RunDirectory&)>& opened);

// Reads the dataset again, now that the model has given all targets. Throws what survey_dataset
// throws.
void survey_generated_targets(Coordination& coordination, const Job& job);

}  // namespace limn
