#include "sharding/parallel_linear.h"

#include <ATen/ATen.h>

namespace limn {

at::Tensor product(const at::Tensor& x, const at::Tensor& weight) {
  return at::linear(x, weight.to(at::kFloat));
}

at::Tensor ColumnParallelLinear::operator()(const at::Tensor& x) const {
  at::Tensor y = product(x, weight);  // [rows, out/t]
  if (bias.defined()) y.add_(bias);
  return y;
}

at::Tensor RowParallelLinear::operator()(const at::Tensor& x_shard) const {
  at::Tensor y = product(x_shard, weight);  // [rows, out], this rank's addend
  tensor_ranks->all_reduce(y, ReduceOp::Sum);
  // Once, after the sum, and not t times before it.
  if (bias.defined()) y.add_(bias);
  return y;
}

}  // namespace limn
