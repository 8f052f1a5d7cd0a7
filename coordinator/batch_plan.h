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
#include "coordinator/sweep_cost.h"

namespace limn {

// A batch, and what the coordinator keeps of it until its result arrives.
struct PlannedBatch {
  Batch batch;
  // Of the sweep, as far as it can be told without the model's embeddings.
  SweepWork work;
  // The sample of each piece. Shared by the batches that a sample spans: it goes with the last of
  // them.
  std::vector<std::shared_ptr<const Sample>> samples;
  // Samples that nothing is computed for, but which become durable with the batch like the others.
  // A batch may have nothing else.
  std::vector<std::shared_ptr<const Sample>> skipped;
};

// A fingerprint of what is computed in the batch and of the samples that go with it: equal for two
// plans' batches that give the same deltas. Never 0.
std::int64_t contents_of(const PlannedBatch& planned);

struct PlanOptions {
  Suppression suppression;
  std::int64_t batch_tokens = 16384;  // rows of one sweep
  SweepCost cost;                     // of the model
};

// Packs the perturbations of successive samples into batches: the base rows of each sample that a
// batch touches, and for each perturbation the rows from its first suppressed key on. A batch may
// hold several samples; a sample that fits into no batch spans several. Alternative targets of one
// prompt go through the batches together: what they share counts once.
//
// A batch has at most `batch_tokens` rows, which bounds a sweep's memory; one with one perturbation
// may have more, for it cannot be cut. Towards the end of the dataset its cost is bounded, too, so
// that groups end their last batches at almost the same time: by a fixed share of what is left
// (guided self-scheduling, Polychronopoulos and Kuck 1987), though not below what keeps a sweep
// efficient. A cut that cost alone asks for is made only where the piece costs about twice the base
// rows that it computes again, or more.
//
// A skipped sample (SampleStatus::Skipped) goes with the batch that is open when its turn comes. It
// costs nothing, so it alters no other batch.
//
// Deterministic: what comes out depends on the samples, in their order, and the options alone, so
// batch 4711 is the same batch in every run and after every resume. Keeps the samples of the next
// dozen full batches, so that it sees the end before it comes. Threads: one thread at a time.
class BatchPlanner {
 public:
  explicit BatchPlanner(const PlanOptions& options) : options_(options) {}

  // Adds a sample, in dataset order; completes any number of batches.
  void add(Sample sample);

  // The same for successive samples of one record, its alternative targets. None of several is
  // skipped.
  void add_alternatives(std::vector<Sample> samples);

  // After the last sample: plans what is left and completes all batches.
  void finish();

  // The next complete batch, if there is one.
  std::optional<PlannedBatch> next();

 private:
  // A sample, or several with one prompt, with perturbations that are in no batch yet. Those of the
  // same index are planned together.
  struct WaitingSamples {
    std::vector<std::shared_ptr<const Sample>> samples;
    std::vector<std::vector<Perturbation>> perturbations;  // of each sample
    std::vector<SweepWork> work;                           // of each index
    SweepWork base;
    std::size_t num_planned = 0;  // indices
    SweepWork left;               // of the other indices
  };

  // Perturbations of samples from index `num_planned` on, and the bases.
  struct Piece {
    std::size_t num_perturbations = 0;
    SweepWork work;
  };

  void add_together(std::vector<Sample> samples);
  bool end_is_far() const;
  double budget_of_next_batch() const;
  bool next_is_skipped() const;
  void plan_next();
  void plan_skipped_sample();
  Piece next_piece(const WaitingSamples& waiting) const;
  std::int64_t num_pieces(const WaitingSamples& waiting) const;
  bool fits_open_batch(const SweepWork& work) const;
  void add_to_open_batch(WaitingSamples& waiting, const Piece& piece);
  void close_batch();

  PlanOptions options_;
  std::deque<WaitingSamples> waiting_;
  SweepWork waiting_work_;  // of all that is in no batch yet, each base counted once
  SweepWork total_work_;    // of all samples so far, each base counted once
  std::int64_t next_id_ = 0;
  PlannedBatch open_;
  double open_budget_ = 0;  // of the open batch's cost
  std::deque<PlannedBatch> complete_;
};

// The perturbations of design `single` (AtMan's): one for each unit, in the units' order.
std::vector<Perturbation> single_unit_perturbations(const SampleRecord& sample);

}  // namespace limn
