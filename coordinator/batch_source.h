// The batches of a run, made from the dataset as they are wanted.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "coordinator/batch_plan.h"
#include "coordinator/job.h"
#include "coordinator/sample.h"
#include "coordinator/sample_stream.h"
#include "coordinator/sweep_cost.h"

namespace limn {

// Walks the dataset once, keeping only what the planner keeps and what `num_threads` threads
// prepare ahead. Alternative targets of a record are successive samples. Borrows: the preparer.
// Threads: one thread at a time.
class BatchSource {
 public:
  BatchSource(
      const Job& job, const SamplePreparer& preparer, const SweepCost& cost, int num_threads = 1);

  // All batches of the run in the order of their ids, then nothing.
  // Throws DataError naming the place of a record that cannot be explained, unless the job skips
  // those, as soon as the planner looks at it: some batches before its own.
  std::optional<PlannedBatch> next();

 private:
  SampleStream samples_;
  BatchPlanner planner_;
  bool at_end_ = false;
};

// What a dataset holds, counted.
struct DatasetSurvey {
  std::int64_t num_samples = 0;
  std::int64_t num_skipped = 0;  // of the samples
  std::string first_skipped;     // the message of the first of them
  std::int64_t num_batches = 0;
  std::int64_t num_rows = 0;        // of all sweeps
  std::int64_t remaining_rows = 0;  // of the batches that are not finished
  // Of all samples: PromptUnits::num_without_token.
  std::int64_t num_without_token = 0;
};

// Reads, prepares and plans the whole dataset once, on `num_threads` threads, so that whatever is
// wrong with a record is found before any time is spent on the model. `is_finished` is asked for
// every batch, in their order; none means that no batch is. Memory grows by 8 bytes a record, for
// the ids.
// Throws IoError and DataError naming the place of every record that is wrong, an id that is used
// twice ("a#0", too, of a record "a" with alternative targets) and one of data.sample_ids that is
// not there included: a line for each, of the first ten.
DatasetSurvey survey_dataset(
    const Job& job,
    const SamplePreparer& preparer,
    const SweepCost& cost,
    const std::function<bool(const PlannedBatch& planned)>& is_finished,
    int num_threads = 1);

// The same before the model has given the targets, of the prompts alone: batches and rows stay 0.
DatasetSurvey survey_prompts(const Job& job, const SamplePreparer& preparer, int num_threads = 1);

}  // namespace limn
