// The feed-forward half of a block: one network for all rows, or a choice of experts.
#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

#include "sharding/parallel_linear.h"
#include "worker/decoder_config.h"

namespace limn {

// down(activation(up x)), or with a gate (SwiGLU and its kin, Shazeer 2020)
// down(activation(gate x) * up x).
struct Mlp {
  MlpKind kind = MlpKind::Gated;
  Activation activation = Activation::Silu;
  ColumnParallelLinear up;  // [inner/t, hidden]; Gated: [2 inner/t, hidden], the gate's rows first
  RowParallelLinear down;   // [hidden, inner/t]

  // What goes into `down`, in its dtype, from what comes out of `up`.
  at::Tensor activated(const at::Tensor& inner) const;

  // [rows, hidden] -> the same. Collective. Waits.
  at::Tensor operator()(const at::Tensor& x) const;
};

// One expert, its inner dimension spread over the tensor ranks. Biases are float32 or undefined.
struct Expert {
  at::Tensor gate_up;       // [2 inner/t, hidden], the gate's rows first
  at::Tensor gate_up_bias;  // [2 inner/t]
  at::Tensor down;          // [hidden, inner/t]
  at::Tensor down_bias;     // [hidden] on tensor rank 0 alone, for it is added once
};

// A weighted sum of the experts that a row's router chooses. Borrows: the communicator.
struct ExpertMlp {
  ExpertsConfig config;
  Activation activation = Activation::Silu;
  at::Tensor router;       // [experts, hidden], float32, whole on every rank
  at::Tensor router_bias;  // [experts], float32; undefined: none
  std::vector<Expert> experts;
  Communicator* tensor_ranks = nullptr;

  // [rows, hidden] -> the same. Rows are gathered by expert, so that each expert is one product,
  // and all experts share one all-reduce. Collective. Waits.
  at::Tensor operator()(const at::Tensor& x) const;
};

}  // namespace limn
