#include "worker/row_operations.h"

#include <algorithm>
#include <cstdint>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "storage/error.h"
#include "worker/gpu/gpu_rows.h"
#include "worker/kernels/cpu_kernels.h"

namespace limn {

namespace {

// Elements that are worth a thread.
constexpr std::int64_t kGrainElements = 16384;

RowSource source_of(const at::Tensor& rows, const at::Tensor& index) {
  RowSource source;
  if (!rows.defined()) return source;
  check(rows.stride(1) == 1, "rows must be contiguous");
  if (rows.scalar_type() == at::kBFloat16) {
    source.bfloats = static_cast<const std::uint16_t*>(rows.const_data_ptr());
  } else {
    source.floats = rows.const_data_ptr<float>();
  }
  source.stride = rows.stride(0);
  if (index.defined()) source.row = index.const_data_ptr<std::int64_t>();
  return source;
}

RowSink sink_of(const at::Tensor& rows) {
  RowSink sink{.stride = rows.stride(0)};
  if (rows.scalar_type() == at::kBFloat16) {
    sink.bfloats = static_cast<std::uint16_t*>(rows.mutable_data_ptr());
  } else {
    sink.floats = rows.mutable_data_ptr<float>();
  }
  return sink;
}

// Runs kernel(task, function, begin, end) over all rows on ATen's threads.
template <typename Kernel, typename Function>
at::Tensor run(
    const Kernel& kernel,
    const Function& function,
    const at::Tensor& x,
    std::int64_t width,
    const RowTerms& terms) {
  at::Tensor out = at::empty({x.size(0), width}, terms.out);
  const RowTask task{
      .x = source_of(x, {}),
      .base = source_of(terms.base.values, terms.base.row),
      .minus = source_of(terms.minus.values, terms.minus.row),
      .out = sink_of(out),
      .width = width};
  const std::int64_t grain =
      std::max<std::int64_t>(kGrainElements / std::max<std::int64_t>(width, 1), 1);
  at::parallel_for(0, x.size(0), grain, [&](std::int64_t begin, std::int64_t end) {
    kernel(task, function, begin, end);
  });
  return out;
}

const float* data_or_null(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr<float>() : nullptr;
}

// Without a kernel of its own: exact GELU, whose error function is ATen's.
at::Tensor gelu_rows(const at::Tensor& x, bool gated, const RowTerms& terms) {
  const at::Tensor value = combined_rows(x, 1, {.base = terms.base});
  const std::int64_t width = gated ? x.size(1) / 2 : x.size(1);
  at::Tensor y = at::gelu(value.narrow(1, 0, width));
  if (gated) y.mul_(value.narrow(1, width, width));
  return combined_rows(y, 1, {.minus = terms.minus, .out = terms.out});
}

ActivationKind kind_of(Activation activation) {
  switch (activation) {
    case Activation::Silu:
      return ActivationKind::Silu;
    case Activation::GeluTanh:
      return ActivationKind::GeluTanh;
    case Activation::Relu:
      return ActivationKind::Relu;
    case Activation::Gelu:
      break;
  }
  throw InternalError("an activation without a kernel");
}

}  // namespace

at::Tensor combined_rows(const at::Tensor& x, double scale, const RowTerms& terms) {
  if (x.is_cuda()) return gpu_combined_rows(x, scale, terms);
  const ScaleFunction function{.scale = static_cast<float>(scale)};
  return run(row_kernels().scale, function, x, x.size(1), terms);
}

at::Tensor normed_rows(const at::Tensor& x, const Norm& norm, const RowTerms& terms) {
  if (x.is_cuda()) return gpu_normed_rows(x, norm, terms);
  const NormFunction function{
      .subtracts_mean = norm.subtracts_mean,
      .epsilon = static_cast<float>(norm.epsilon),
      .weight = data_or_null(norm.weight),
      .bias = data_or_null(norm.bias)};
  return run(row_kernels().norm, function, x, x.size(1), terms);
}

at::Tensor activated_rows(
    const at::Tensor& x, Activation activation, bool gated, const RowTerms& terms) {
  if (x.is_cuda()) return gpu_activated_rows(x, activation, gated, terms);
  if (activation == Activation::Gelu) return gelu_rows(x, gated, terms);
  const ActivationFunction function{.kind = kind_of(activation), .gated = gated};
  return run(row_kernels().activate, function, x, gated ? x.size(1) / 2 : x.size(1), terms);
}

}  // namespace limn
