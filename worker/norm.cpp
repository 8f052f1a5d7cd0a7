#include "worker/norm.h"

#include <ATen/ATen.h>

namespace limn {

at::Tensor Norm::operator()(const at::Tensor& x) const {
  const at::Tensor centred = subtracts_mean ? x - x.mean(-1, /*keepdim=*/true) : x;
  const at::Tensor mean_square = centred.square().mean(-1, /*keepdim=*/true);
  at::Tensor y = centred * mean_square.add_(epsilon).rsqrt_();
  if (weight.defined()) y.mul_(weight);
  if (bias.defined()) y.add_(bias);
  return y;
}

at::Tensor AllHeadsNorm::operator()(const at::Tensor& x) const {
  at::Tensor sum = x.narrow(1, counted.begin, counted.size()).square().sum({1, 2});  // [rows]
  tensor_ranks->all_reduce(sum, ReduceOp::Sum);
  const at::Tensor scale = sum.div_(total_width).add_(epsilon).rsqrt_();
  return (x * scale.view({-1, 1, 1})).mul_(weight);
}

}  // namespace limn
