// The factors that a perturbation gives to keys.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "coordinator/batch.h"
#include "coordinator/job.h"

namespace limn {

// A sparse map from key position to factor: every other key has factor 1, which changes nothing.
struct KeyFactors {
  std::vector<std::int64_t> positions;  // ascending
  std::vector<float> factors;           // of these positions, none of them 1

  bool empty() const { return positions.empty(); }

  bool operator==(const KeyFactors&) const = default;
};

// For every two tokens of a sequence the cosine of their input embeddings, for correlated
// suppression: [tokens, tokens] float64. A cosine within 1e-6 of 1 is 1, so that a repeated token
// gets exactly the factor of its unit. Requires: `embeddings` [tokens, hidden], before any scaling.
at::Tensor embedding_similarity(const at::Tensor& embeddings);

// The factors of one perturbation. Positions from fed_length on are keys of no row and are passed
// over. A key outside the perturbation whose largest similarity c to it is at least the threshold
// gets (1 - f)(1 - c) + f. `similarity` is undefined when the threshold is 0.
KeyFactors key_factors(
    const Perturbation& perturbation,
    const Suppression& suppression,
    std::int64_t fed_length,
    const at::Tensor& similarity);

// Those of every perturbation of every piece of a batch: [piece][perturbation]. `embeddings`
// [fed tokens of all pieces, hidden], piece by piece, before any scaling; undefined where the
// threshold is 0.
std::vector<std::vector<KeyFactors>> batch_factors(
    const Batch& batch, const Suppression& suppression, const at::Tensor& embeddings);

}  // namespace limn
