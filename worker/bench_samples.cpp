#include "worker/bench_samples.h"

#include <utility>

namespace limn {

namespace {

Sample sample_of(const BenchSamples& samples, std::int64_t vocab_size) {
  Sample sample;
  sample.prompt_length = samples.tokens;
  for (std::int64_t i = 0; i < samples.tokens + samples.targets; ++i) {
    const auto id = static_cast<std::int32_t>((i * 7919 + 31) % vocab_size);
    sample.record.tokens.push_back({.id = id});
    if (i >= samples.tokens) {
      sample.record.targets.push_back({.position = static_cast<std::int32_t>(i), .token = id});
    }
  }
  for (std::int64_t u = 0; u < samples.num_units(); ++u) {
    const auto token = static_cast<std::int32_t>(u * samples.tokens / samples.num_units());
    sample.record.units.push_back({.tokens = {token}});
  }
  return sample;
}

}  // namespace

std::vector<PlannedBatch> plan_samples(
    const BenchSamples& samples, std::int64_t vocab_size, const PlanOptions& options) {
  BatchPlanner planner(options);
  Sample sample = sample_of(samples, vocab_size);
  for (sample.index = 0; sample.index < samples.count; ++sample.index)
    planner.add(sample);
  planner.finish();
  std::vector<PlannedBatch> batches;
  while (auto planned = planner.next())
    batches.push_back(*std::move(planned));
  return batches;
}

std::vector<PlannedBatch> spread_batches(std::vector<PlannedBatch> batches, std::int64_t count) {
  const auto total = static_cast<std::int64_t>(batches.size());
  if (count == 0 || count >= total) return batches;
  std::vector<PlannedBatch> spread;
  // The middle one of each of `count` equal stretches.
  for (std::int64_t i = 0; i < count; ++i)
    spread.push_back(std::move(batches[(2 * i + 1) * total / (2 * count)]));
  return spread;
}

}  // namespace limn
