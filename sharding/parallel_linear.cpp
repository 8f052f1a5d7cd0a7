#include "sharding/parallel_linear.h"

#include <optional>
#include <string_view>

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>

namespace limn {

namespace {

// x W^T by oneDNN, which PyTorch calls for bfloat16 by itself but not for float32: there it prefers
// MKL, which uses half of the vector width on processors that are not Intel's.
using OnednnLinear = at::Tensor(
    const at::Tensor& x,
    const at::Tensor& weight,
    const std::optional<at::Tensor>& bias,
    std::string_view attribute,
    c10::List<std::optional<at::Scalar>> scalars,
    std::optional<std::string_view> algorithm);

std::optional<c10::TypedOperatorHandle<OnednnLinear>> find_onednn_linear() {
  const auto found = c10::Dispatcher::singleton().findSchema({"mkldnn::_linear_pointwise", ""});
  if (!found) return std::nullopt;
  return found->typed<OnednnLinear>();
}

}  // namespace

at::Tensor product(const at::Tensor& x, const at::Tensor& weight) {
  static const auto onednn_linear = find_onednn_linear();
  const at::Tensor in = x.to(weight.scalar_type());
  if (onednn_linear && weight.is_cpu() && in.size(0) > 0) {
    return onednn_linear->call(
        in, weight, std::nullopt, "none", c10::List<std::optional<at::Scalar>>(), "");
  }
  return at::linear(in, weight);
}

at::Tensor wide_product(const at::Tensor& x, const at::Tensor& weight) {
  const at::Tensor first = x.to(at::kBFloat16);
  at::Tensor rest = x - first;
  const at::Tensor second = rest.to(at::kBFloat16);
  rest.sub_(second);
  // The small ones first.
  at::Tensor y = at::mm(rest.to(at::kBFloat16), weight.t(), at::kFloat);
  y.add_(at::mm(second, weight.t(), at::kFloat));
  y.add_(at::mm(first, weight.t(), at::kFloat));
  return y;
}

at::Tensor ColumnParallelLinear::operator()(const at::Tensor& x) const {
  at::Tensor y = is_wide ? wide_product(x, weight) : product(x, weight);  // [rows, out/t]
  if (bias.defined()) y.add_(bias);
  return y;
}

at::Tensor RowParallelLinear::operator()(const at::Tensor& x_shard) const {
  at::Tensor y = sum(addend(x_shard));
  // Once, after the sum, and not t times before it.
  if (bias.defined()) y.add_(bias);
  return y;
}

at::Tensor RowParallelLinear::addend(const at::Tensor& x_shard) const {
  if (is_wide) return wide_product(x_shard, weight);
  if (weight.is_cuda() && weight.scalar_type() != at::kFloat) {
    // Its sums are float32: they need not be rounded.
    return at::mm(x_shard.to(weight.scalar_type()), weight.t(), at::kFloat);
  }
  return product(x_shard, weight).to(at::kFloat);
}

at::Tensor RowParallelLinear::sum(at::Tensor addend) const {
  tensor_ranks->all_reduce(addend, ReduceOp::Sum);
  return addend;
}

}  // namespace limn
