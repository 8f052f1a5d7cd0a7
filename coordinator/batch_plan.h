// The batch plan: samples, one after the other, cut and packed into batches.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "coordinator/batch.h"
#include "coordinator/job.h"
#include "coordinator/sample.h"

namespace limn {

// A batch, and what the coordinator keeps of it until its result arrives.
struct PlannedBatch {
  Batch batch;
  // Of the sweep, as far as it can be told without the model's embeddings.
  std::int64_t rows = 0;
  // The sample of each piece. Shared by the batches that a sample spans: it goes with the last of
  // them.
  std::vector<std::shared_ptr<const Sample>> samples;
};

// Packs the perturbations of successive samples into batches of at most `batch_tokens` rows: the
// base rows of each sample that a batch touches, and for each perturbation the rows from its first
// suppressed key on. A batch may hold several samples; a sample that fits into no batch spans
// several; a batch with one perturbation may exceed the budget, for it cannot be cut.
//
// Deterministic: what comes out depends on the samples, in their order, and the options alone, so
// batch 4711 is the same batch in every run and after every resume. Threads: one thread at a time.
class BatchPlanner {
 public:
  BatchPlanner(const Suppression& suppression, std::int64_t batch_tokens)
      : suppression_(suppression),
        batch_tokens_(batch_tokens) {}

  // Adds a sample, in dataset order; completes any number of batches.
  void add(Sample sample);

  // After the last sample: the open batch is complete, whatever its size.
  void finish();

  // The next complete batch, if there is one.
  std::optional<PlannedBatch> next();

 private:
  void close_batch();

  Suppression suppression_;
  std::int64_t batch_tokens_;
  std::int64_t next_id_ = 0;
  PlannedBatch open_;
  std::deque<PlannedBatch> complete_;
};

// The perturbations of design `single` (AtMan's): one for each unit, in the units' order.
std::vector<Perturbation> single_unit_perturbations(const SampleRecord& sample);

}  // namespace limn
