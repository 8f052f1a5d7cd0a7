// Linear layers whose weights are spread over the tensor ranks of a group
// (Megatron-LM, Shoeybi et al. 2019, section 3). Activations and products are float32, whatever the
// dtype in which a weight is kept.
#pragma once

#include <ATen/core/Tensor.h>

#include "sharding/communicator.h"

namespace limn {

// x W^T in float32: a weight of fewer bits is converted, which is exact, for the time of the
// product. [rows, in] -> [rows, out]
at::Tensor product(const at::Tensor& x, const at::Tensor& weight);

// y_shard = x W_shard^T + b_shard: every rank computes its own outputs from all inputs. No
// communication.
struct ColumnParallelLinear {
  at::Tensor weight;  // [out/t, in]
  at::Tensor bias;    // [out/t], float32; undefined: none

  // [rows, in] -> [rows, out/t]
  at::Tensor operator()(const at::Tensor& x) const;
};

// y = sum over the ranks of x_shard W_shard^T, + b: every rank computes all outputs from its own
// inputs. Borrows: the communicator.
struct RowParallelLinear {
  at::Tensor weight;  // [out, in/t]
  at::Tensor bias;    // [out], float32, whole on every rank; undefined: none
  Communicator* tensor_ranks = nullptr;

  // [rows, in/t] -> [rows, out], bitwise the same on every rank. Collective. Waits.
  at::Tensor operator()(const at::Tensor& x_shard) const;
};

}  // namespace limn
