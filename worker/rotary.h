// Rotary position embedding (RoFormer, Su et al. 2021), halves convention: dimension i pairs with
// i + head_dim / 2.
#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

#include "worker/decoder_config.h"

namespace limn {

// The angle per position of each pair of dimensions: [head_dim / 2]. The formulas of the scalings
// stand in docs/model-families.md.
std::vector<double> rotary_frequencies(const RopeConfig& rope, std::int64_t head_dim);

// Threads: immutable.
class RotaryEmbedding {
 public:
  RotaryEmbedding(const RopeConfig& rope, std::int64_t head_dim, std::int64_t num_positions);

  // Rotates every head of `x` [rows, heads, head_dim] by its row's position: `positions` [rows]
  // int64, each less than num_positions.
  at::Tensor rotate(const at::Tensor& x, const at::Tensor& positions) const;

 private:
  at::Tensor cos_;  // [num_positions, head_dim / 2]
  at::Tensor sin_;  // [num_positions, head_dim / 2]
};

}  // namespace limn
