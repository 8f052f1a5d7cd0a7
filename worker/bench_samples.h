// Samples to measure sweeps with.
#pragma once

#include <cstdint>
#include <vector>

#include "coordinator/batch_plan.h"

namespace limn {

// Samples of the same shape, their tokens without meaning.
struct BenchSamples {
  std::int64_t tokens = 1024;  // of the prompt
  std::int64_t targets = 16;
  std::int64_t units = 0;  // one token each, spread evenly over the prompt; 0: every token
  std::int64_t count = 1;

  std::int64_t num_units() const { return units > 0 ? units : tokens; }

  // Tokens that the model is fed.
  std::int64_t fed_length() const { return tokens + targets - 1; }
};

// The batches that a run would cut the samples into. Requires: no more units than tokens, and a
// target.
std::vector<PlannedBatch> plan_samples(
    const BenchSamples& samples, std::int64_t vocab_size, const PlanOptions& options);

// `count` of the batches, spread evenly; all of them when there are no more, or when it is 0.
std::vector<PlannedBatch> spread_batches(std::vector<PlannedBatch> batches, std::int64_t count);

}  // namespace limn
