// Linear layers whose weights are spread over the tensor ranks of a group
// (Megatron-LM, Shoeybi et al. 2019, section 3).
#pragma once

#include <ATen/core/Tensor.h>

#include "sharding/communicator.h"

namespace limn {

// x W^T in the dtype of the weight, float32 or bfloat16, into which x is converted; sums are
// float32. [rows, in] -> [rows, out]
at::Tensor product(const at::Tensor& x, const at::Tensor& weight);

// x W^T as product() has it of a float32 weight, of one that is kept in bfloat16 on a GPU: x is
// split into three bfloat16, which hold all of it, and each is multiplied with float32 sums and
// outcome. Thrice the products of bfloat16, where a GPU's float32 takes ten times and more as long.
// [rows, in] float32 -> [rows, out] float32
at::Tensor wide_product(const at::Tensor& x, const at::Tensor& weight);

// Whether a weight that is wanted as float32 stays as it is kept, for wide_product().
inline bool is_wide_as_kept(const at::Tensor& weight) {
  return weight.is_cuda() && weight.scalar_type() == at::kBFloat16;
}

// In which x goes into a linear layer's product: of a weight in float8 it is made float8 on the
// way.
inline at::ScalarType input_dtype_of(const at::Tensor& weight, bool is_wide) {
  if (is_wide) return at::kFloat;
  return weight.scalar_type() == at::kFloat8_e4m3fn ? at::kBFloat16 : weight.scalar_type();
}

// y_shard = x W_shard^T + b_shard: every rank computes its own outputs from all inputs. No
// communication.
struct ColumnParallelLinear {
  at::Tensor weight;     // [out/t, in]
  at::Tensor bias;       // [out/t], float32; undefined: none
  bool is_wide = false;  // by wide_product: counts as float32
  at::Tensor scale;      // [out/t, 1] float32, of a weight in float8; undefined: 1

  // In which x goes into the product without being converted.
  at::ScalarType input_dtype() const { return input_dtype_of(weight, is_wide); }

  // [rows, in] -> [rows, out/t] in the dtype of the weight; wide: float32
  at::Tensor operator()(const at::Tensor& x) const;
};

// y = sum over the ranks of x_shard W_shard^T, + b: every rank computes all outputs from its own
// inputs. Borrows: the communicator.
struct RowParallelLinear {
  at::Tensor weight;  // [out, in/t]
  at::Tensor bias;    // [out], float32, whole on every rank; undefined: none
  Communicator* tensor_ranks = nullptr;
  bool is_wide = false;  // by wide_product: counts as float32
  at::Tensor scale;      // [out, 1] float32, of a weight in float8; undefined: 1

  // In which x_shard goes into the product without being converted.
  at::ScalarType input_dtype() const { return input_dtype_of(weight, is_wide); }

  // [rows, in/t] -> [rows, out] in float32, bitwise the same on every rank. Collective. Waits.
  at::Tensor operator()(const at::Tensor& x_shard) const;

  // Its two halves: x_shard W_shard^T, [rows, in/t] -> [rows, out] in float32, without
  // communication; and the sum over the ranks, in place, bitwise the same on every rank.
  // Collective. Waits.
  at::Tensor addend(const at::Tensor& x_shard) const;
  at::Tensor sum(at::Tensor addend) const;
};

}  // namespace limn
