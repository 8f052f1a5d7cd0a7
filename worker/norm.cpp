#include "worker/norm.h"

#include <ATen/ATen.h>

#include "worker/row_operations.h"

namespace limn {

at::Tensor Norm::operator()(const at::Tensor& x) const {
  // One weight for every row, or one for every head of a row: then the heads are normed without it.
  const bool has_row_weight = !weight.defined() || weight.dim() == 1;
  const Norm of_row = has_row_weight ? *this : Norm{subtracts_mean, epsilon, {}, {}};
  // A GPU takes heads as they lie among others.
  const at::Tensor rows = x.is_cuda() && x.dim() == 3 ? x : x.reshape({-1, x.size(-1)});
  at::Tensor y = normed_rows(rows, of_row, {}).view(x.sizes());
  if (!has_row_weight) {
    y.mul_(weight);
    if (bias.defined()) y.add_(bias);
  }
  return y;
}

at::Tensor AllHeadsNorm::operator()(const at::Tensor& x) const {
  at::Tensor sum = x.narrow(1, counted.begin, counted.size()).square().sum({1, 2});  // [rows]
  tensor_ranks->all_reduce(sum, ReduceOp::Sum);
  const at::Tensor scale = sum.div_(total_width).add_(epsilon).rsqrt_();
  return (x * scale.view({-1, 1, 1})).mul_(weight);
}

}  // namespace limn
