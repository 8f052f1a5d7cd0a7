// How fast sweeps are, beside the matrix products that they are made of.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <c10/core/Device.h>

#include "coordinator/batch_plan.h"
#include "coordinator/job.h"
#include "sharding/communicator.h"
#include "sharding/timed_communicator.h"
#include "worker/decoder_weights.h"
#include "worker/minimum_work.h"
#include "worker/model_family.h"
#include "worker/sweep_compute.h"

namespace limn {

struct SweepBenchOptions {
  Suppression suppression;
  SweepCompute compute = SweepCompute::Float32;
  at::Device device = at::kCPU;
  int repeat = 3;  // at least 1
};

// Of one rank; times are in seconds, of all batches.
struct SweepBenchResult {
  MinimumWork work;
  std::vector<double> runs;  // each run's, of the slowest rank, the shortest first
  double products = 0;       // of the products alone, each at its best
  double attention = 0;      // of attention alone
  double communication = 0;  // of a run in which every call waits, partners included
  std::int64_t num_collectives = 0;
  std::int64_t collective_bytes = 0;
  std::int64_t memory = 0;                       // the most bytes of tensors beyond the weights
  std::optional<std::int64_t> predicted_memory;  // sweep_memory(), of a CPU

  double median_run() const { return runs[runs.size() / 2]; }
};

// Runs the batches `repeat` times after a first time for memory, on every group of the world at
// once; the products are measured in turn with the runs, so that both see the same machine. The
// weights' communicator is `tensor_ranks`. Requires: at least one batch. Collective over the world.
// Waits.
SweepBenchResult bench_sweeps(
    const ModelConfig& model,
    const DecoderWeights& weights,
    std::span<const PlannedBatch> batches,
    TimedCommunicator& tensor_ranks,
    Communicator& world,
    const SweepBenchOptions& options);

}  // namespace limn
