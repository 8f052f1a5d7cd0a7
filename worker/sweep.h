// The sweep: all perturbations of a batch in one packed forward pass.
#pragma once

#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "coordinator/batch.h"
#include "coordinator/job.h"
#include "worker/decoder_config.h"
#include "worker/decoder_weights.h"
#include "worker/layer_source.h"
#include "worker/rotary.h"
#include "worker/row_arithmetic.h"
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
  // Exactly 0 where a perturbation touches no key that a target's row sees, and where all positions
  // that it names come after that row, be there keys before them that correlated suppression
  // touches. The same on every rank of the group. Collective over the group, with the same batch.
  // Waits.
  BatchResult run(const Batch& batch);

 private:
  // Queries, keys and values of some rows, each [rows, heads, head_dim], rotated.
  struct Projections {
    at::Tensor queries;
    at::Tensor keys;
    at::Tensor values;

    Projections rows(const at::Tensor& indices) const;
  };

  // A layer under way.
  struct LayerPass {
    std::size_t index = 0;
    const SweepLayout& layout;
    std::unique_ptr<LayerAttention> attention;
    Projections base_projections;  // in layer 0, where they are those of all rows
  };

  // log p of every target row of the layout: [target_rows] float64.
  at::Tensor target_log_probs(const SweepLayout& layout, at::Tensor embeddings);

  // The residual stream that enters layer 0: [base_rows, hidden].
  at::Tensor embed(const at::Tensor& embeddings, const at::Tensor& positions) const;

  // Takes the rows of a block through a layer; in the last one only the target rows leave it.
  at::Tensor forward(
      const LayerWeights& layer,
      LayerPass& pass,
      const RowBlock& block,
      RowArithmetic& rows,
      at::Tensor x) const;

  Projections project(
      const LayerWeights& layer,
      const LayerPass& pass,
      const RowBlock& block,
      RowArithmetic& rows,
      const at::Tensor& x) const;

  at::Tensor key_bias_of(const SweepLayout& layout) const;

  AttentionOptions attention_options(
      const LayerConfig& config, const LayerWeights& layer, const at::Tensor& key_bias) const;

  at::Device device() const { return weights_.embedding.weight.device(); }

  const DecoderConfig& config_;
  const DecoderWeights& weights_;
  ResidentLayers resident_;  // the weights' own layers
  LayerSource& layers_;
  Suppression suppression_;
  SweepCompute compute_;
  std::vector<RotaryEmbedding> rotaries_;  // as DecoderConfig::ropes
  AttentionBuffers buffers_;
};

}  // namespace limn
