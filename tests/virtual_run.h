// A run in virtual time: the batches of the real plan, on groups that only let time pass.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "coordinator/batch_plan.h"
#include "coordinator/sweep_cost.h"

namespace limn::test {

enum class VirtualUnits {
  Sentences,  // of 8 to 40 tokens
  Tokens,
  Mixed,  // of every other sample sentences
};

// Log-normal, but 50 to 2,000 tokens.
struct VirtualLengths {
  double median = 300;
  double sigma = 0.8;
};

// Samples of these lengths, each with a target of 8 tokens. The same for the same arguments.
std::vector<Sample> virtual_samples(
    std::int64_t num_samples, VirtualUnits units, const VirtualLengths& lengths = {});

struct VirtualDataset {
  std::int64_t num_samples = 0;
  VirtualUnits units = VirtualUnits::Mixed;
  VirtualLengths lengths;
};

// Calls `take` with every batch of the plan of these samples, which are never in memory all at
// once. Returns their uncut work.
SweepWork plan_one_by_one(
    const VirtualDataset& dataset,
    const PlanOptions& options,
    const std::function<void(const PlannedBatch&)>& take);

// All batches of the plan, each taken as soon as it is complete.
std::vector<PlannedBatch> plan(const std::vector<Sample>& samples, const PlanOptions& options);

// The same if many more samples followed these, so that rows alone bound the batches; without those
// that follow.
std::vector<PlannedBatch> plan_far_from_the_end(
    const std::vector<Sample>& samples, const PlanOptions& options);

// Counted from the pieces: the base rows of each, and all rows from the first suppressed key on.
SweepWork work_of(const Batch& batch);

// Of samples that nothing cuts: the base rows of each once.
SweepWork uncut_work(const std::vector<Sample>& samples);

// The share of the groups' time, from the start until the last one ends, in which they have nothing
// to do. Batches are dealt out in their order, as Schedule does it: one to each group, then one to
// each until it has kBatchesHeld, then one for each that it ends.
double idle_share(const std::vector<double>& batch_s, int num_groups);

}  // namespace limn::test
