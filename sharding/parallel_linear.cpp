#include "sharding/parallel_linear.h"

#include <ATen/ATen.h>

namespace limn {

at::Tensor ColumnParallelLinear::operator()(const at::Tensor& x) const {
  return at::linear(x, weight, bias);
}

at::Tensor RowParallelLinear::operator()(const at::Tensor& x_shard) const {
  at::Tensor y = at::linear(x_shard, weight);  // [rows, out], this rank's addend
  tensor_ranks->all_reduce(y, ReduceOp::Sum);
  // Once, after the sum, and not t times before it.
  if (bias.defined()) y.add_(bias);
  return y;
}

}  // namespace limn
