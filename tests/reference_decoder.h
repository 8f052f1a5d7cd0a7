// A decoder in float64, as plain as the paper's equations: one sequence, one full matrix of
// factors, no packing, no sharing, no sharding. What the sweep computes is compared with this.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "coordinator/batch.h"
#include "coordinator/job.h"
#include "worker/decoder_config.h"

namespace limn::test {

// The weights of a whole decoder. All float64.
struct ReferenceLayer {
  at::Tensor attention_norm, query, key, value, out, mlp_norm, gate, up, down;
};

struct ReferenceWeights {
  at::Tensor embedding;
  std::vector<ReferenceLayer> layers;
  at::Tensor final_norm;
  at::Tensor head;
};

// Random weights that make attention sharp and deltas large, the same for the same seed.
ReferenceWeights random_weights(const DecoderConfig& config, unsigned seed);

// The log-probability of every target of a piece, with every key multiplied by its factor:
// factors [fed_length] float64; all 1: the base. [targets] float64.
at::Tensor reference_log_probs(
    const DecoderConfig& config,
    const ReferenceWeights& weights,
    const BatchPiece& piece,
    SuppressionKind kind,
    const at::Tensor& factors);

// The factors of a perturbation without correlated suppression.
at::Tensor reference_factors(
    const BatchPiece& piece, const Perturbation& perturbation, const Suppression& suppression);

}  // namespace limn::test
