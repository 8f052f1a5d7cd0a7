// The normalisations of a decoder.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "sharding/communicator.h"
#include "sharding/shard_layout.h"

namespace limn {

// Over the last dimension, in float32.
//   root mean square (Zhang and Sennrich 2019): x / sqrt(mean(x^2) + epsilon) * weight
//   layer (Ba et al. 2016): (x - mean) / sqrt(variance + epsilon) * weight + bias
struct Norm {
  bool subtracts_mean = false;
  double epsilon = 0;
  at::Tensor weight;  // broadcasts to x; undefined: 1
  at::Tensor bias;    // broadcasts to x; undefined: 0

  at::Tensor operator()(const at::Tensor& x) const;
};

// Root mean square over all heads of all tensor ranks together (OLMo 2). Borrows: the communicator.
struct AllHeadsNorm {
  double epsilon = 0;
  at::Tensor weight;             // [heads/t, head_dim]
  Slice counted;                 // of the rank's heads those that no other rank counts
  std::int64_t total_width = 0;  // heads * head_dim of the whole model
  Communicator* tensor_ranks = nullptr;

  // [rows, heads/t, head_dim] -> the same. Collective. Waits.
  at::Tensor operator()(const at::Tensor& x) const;
};

}  // namespace limn
