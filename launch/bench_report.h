// What `limn bench` tells: for people and for programs.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "launch/bench_options.h"
#include "sharding/collective_bench.h"
#include "worker/model_family.h"
#include "worker/sweep_bench.h"

namespace limn {

// The batches that were measured, out of the plan's.
struct BenchCoverage {
  std::int64_t measured_batches = 0;
  std::int64_t planned_batches = 0;
  std::int64_t planned_rows = 0;
  double cost_ratio = 1;  // the plan's cost over that of the measured batches
};

struct BenchReport {
  ModelConfig model;
  std::int64_t config_layers = 0;  // before the model was truncated
  std::int64_t parameters = 0;     // of the whole model, truncated
  std::int64_t weight_bytes = 0;   // on this rank
  at::ScalarType dtype = at::kFloat;
  SweepCompute compute = SweepCompute::Float32;
  Suppression suppression;
  std::string device;
  int threads = 1;
  int num_groups = 1;
  int tensor_parallel = 1;
  BenchSamples samples;
  std::int64_t batch_tokens = 0;
  BenchCoverage coverage;
  SweepBenchResult result;  // of this rank

  // Of all perturbations of one sample, on one group.
  double seconds_per_explanation() const;

  // One forward pass over the whole sequence for the base and for each perturbation, with logits at
  // all positions.
  double naive_flops_per_explanation() const;

  // The exact minimum for the same, on all ranks of a group: this rank's, times the ranks.
  double flops_per_explanation() const;
};

// A line for each figure, each ended.
std::string text_of(const BenchReport& report);

// One object; sizes in bytes, times in seconds.
std::string json_of(const BenchReport& report);

// The same of all-reduces.
std::string text_of(std::span<const CollectiveTime> times, int ranks, const std::string& device);
std::string json_of(std::span<const CollectiveTime> times, int ranks, const std::string& device);

}  // namespace limn
