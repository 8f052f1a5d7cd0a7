// Rotary position embedding (RoFormer, Su et al. 2021).
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "worker/decoder_config.h"

namespace limn {

// The angle per position of each pair of dimensions, for a sequence of this many tokens (only
// LongRope asks): [rotated / 2]. The formulas of the scalings stand in docs/model-families.md.
std::vector<double> rotary_frequencies(const RopeConfig& rope, std::int64_t sequence_length);

// Threads: immutable.
class RotaryEmbedding {
 public:
  RotaryEmbedding(const RopeConfig& rope, std::int64_t num_positions, at::Device device = at::kCPU);

  // Rotates, in place, the first dimensions of every head of `x` [rows, heads, head_dim] by its
  // row's position. `positions` and `sequence_lengths`, the row's own sequence's: [rows] int64, at
  // most num_positions. Rows at any stride, all else contiguous;
  // float32. All on the device of the tables.
  void rotate(at::Tensor& x, const at::Tensor& positions, const at::Tensor& sequence_lengths) const;

 private:
  RopeConfig rope_;
  std::int64_t num_positions_;
  // [num_positions, rotated / 2]; LongRope: twice as many rows, those of long sequences last.
  at::Tensor cos_;
  at::Tensor sin_;
};

}  // namespace limn
