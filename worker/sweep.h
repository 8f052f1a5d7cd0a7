// The sweep: all perturbations of a batch in one packed forward pass.
#pragma once

#include <ATen/core/Tensor.h>

#include "coordinator/batch.h"
#include "coordinator/job.h"
#include "worker/decoder_config.h"
#include "worker/decoder_forward.h"
#include "worker/decoder_weights.h"
#include "worker/layer_source.h"
#include "worker/suppressed_attention.h"
#include "worker/sweep_compute.h"
#include "worker/sweep_layout.h"

namespace limn {

// Rows of a block of perturbed segments. Large enough for products at full speed and for the
// weights to be read rarely, small enough for what lies between the products to stay in the
// processor's caches.
inline constexpr std::int64_t kSweepBlockRows = 1024;
// On a GPU: large enough for products at full speed; what lies between them is bounded by it.
inline constexpr std::int64_t kGpuSweepBlockRows = 16384;

inline std::int64_t sweep_block_rows(at::Device device) {
  return device.is_cuda() ? kGpuSweepBlockRows : kSweepBlockRows;
}

// Computes batches on the tensor ranks of one group, on the device of the weights. Borrows: the
// config and the weights. Threads: one thread at a time.
class SweepEngine {
 public:
  // With the layers of the weights.
  SweepEngine(
      const DecoderConfig& config,
      const DecoderWeights& weights,
      const Suppression& suppression,
      SweepCompute compute = SweepCompute::Float32);

  // With other layers, borrowed, too, instead of the weights' own.
  SweepEngine(
      const DecoderConfig& config,
      const DecoderWeights& weights,
      LayerSource& layers,
      const Suppression& suppression,
      SweepCompute compute = SweepCompute::Float32);

  SweepEngine(const SweepEngine&) = delete;
  SweepEngine& operator=(const SweepEngine&) = delete;

  // The base log-probability of every target and, for every perturbation, by how much it falls.
  // Exactly 0 where a perturbation touches no key that a target's row sees. The same on every rank
  // of the group. Collective over the group, with the same batch. Waits.
  BatchResult run(const Batch& batch);

  // Gives back what is kept in memory between two batches, for after one that ended in the middle.
  void release_memory();

 private:
  // log p of every target row of the layout: [target_rows] float64.
  at::Tensor target_log_probs(const SweepLayout& layout, at::Tensor embeddings);

  DecoderForward decoder_;
  ResidentLayers resident_;  // the weights' own layers
  LayerSource& layers_;
  Suppression suppression_;
  SweepCompute compute_;
  AttentionBuffers buffers_;
};

}  // namespace limn
