// The sweep: all perturbations of a batch in one packed forward pass.
#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

#include "coordinator/batch.h"
#include "coordinator/job.h"
#include "worker/decoder_config.h"
#include "worker/decoder_weights.h"
#include "worker/rotary.h"
#include "worker/suppressed_attention.h"
#include "worker/sweep_layout.h"

namespace limn {

// Computes batches on the tensor ranks of one group. Borrows: the config and the weights. Threads:
// one thread at a time.
class SweepEngine {
 public:
  SweepEngine(
      const DecoderConfig& config, const DecoderWeights& weights, const Suppression& suppression);

  // The base log-probability of every target and, for every perturbation, by how much it falls.
  // Exactly 0 where a perturbation touches no key that a target's row sees. The same on every rank
  // of the group. Collective over the group, with the same batch. Waits.
  BatchResult run(const Batch& batch);

 private:
  // log p of every target row of the layout: [target_rows] float64.
  at::Tensor target_log_probs(const SweepLayout& layout, const at::Tensor& embeddings) const;

  // The residual stream that enters layer 0: [base_rows, hidden].
  at::Tensor embed(const at::Tensor& embeddings, const at::Tensor& positions) const;

  AttentionOptions attention_options(std::size_t layer, const SweepLayout& layout) const;

  const DecoderConfig& config_;
  const DecoderWeights& weights_;
  Suppression suppression_;
  std::vector<RotaryEmbedding> rotaries_;  // as DecoderConfig::ropes
};

}  // namespace limn
