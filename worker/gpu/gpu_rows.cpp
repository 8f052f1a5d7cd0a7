#include "worker/gpu/gpu_rows.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include <ATen/ATen.h>

#include "storage/error.h"
#include "worker/gpu/kernel_tasks.h"

namespace limn {

namespace {

constexpr int kThreads = 256;
// A wider row is the work of a whole block.
constexpr std::int64_t kWarpWidth = 1024;

std::int64_t divide_up(std::int64_t n, std::int64_t by) {
  return (n + by - 1) / by;
}

// `values` [rows, width], or [groups, rows of a group, width].
GpuRows rows_of(const at::Tensor& values, const at::Tensor& row) {
  if (!values.defined()) return {};
  check(values.stride(-1) == 1, "rows must be contiguous");
  const bool is_bfloat16 = values.scalar_type() == at::kBFloat16;
  check(is_bfloat16 || values.scalar_type() == at::kFloat, "rows must be float32 or bfloat16");
  GpuRows rows{.data = values.const_data_ptr(), .group_stride = values.stride(0), .group = 1};
  if (values.dim() == 3) {
    rows.stride = values.stride(1);
    rows.group = static_cast<int>(values.size(1));
  }
  rows.is_bfloat16 = is_bfloat16 ? 1 : 0;
  if (row.defined()) {
    static_assert(sizeof(long long) == sizeof(std::int64_t));
    rows.row = reinterpret_cast<const long long*>(row.const_data_ptr<std::int64_t>());
  }
  return rows;
}

// Whether every fourth element of every row starts a piece of memory that is loaded at once.
bool is_vectorizable(const GpuRows& rows) {
  constexpr std::uintptr_t kElements = 4;
  const std::uintptr_t bytes = kElements * (rows.is_bfloat16 != 0 ? 2 : 4);
  return reinterpret_cast<std::uintptr_t>(rows.data) % bytes == 0 && rows.stride % kElements == 0 &&
         rows.group_stride % kElements == 0;
}

GpuRowTask task_of(
    const at::Tensor& x, const RowTerms& terms, const at::Tensor& out, std::int64_t width) {
  GpuRowTask task{
      .x = rows_of(x, {}),
      .base = rows_of(terms.base.values, terms.base.row),
      .minus = rows_of(terms.minus.values, terms.minus.row),
      .out = out.mutable_data_ptr(),
      .out_stride = out.stride(0),
      .order = terms.order.defined() ? terms.order.const_data_ptr<int>() : nullptr,
      .num_rows = out.size(0),
      .width = static_cast<int>(width)};
  task.threads_per_row = width > kWarpWidth ? kThreads : 32;
  task.out_is_bfloat16 = out.scalar_type() == at::kBFloat16 ? 1 : 0;
  const GpuRows to{
      .data = task.out, .group_stride = task.out_stride, .is_bfloat16 = task.out_is_bfloat16};
  const bool all = std::ranges::all_of(
      std::array{task.x, task.base, task.minus, to},
      [](const GpuRows& rows) { return is_vectorizable(rows); });
  task.is_vectorizable = all && width % 4 == 0 ? 1 : 0;
  return task;
}

int rows_of_block(const GpuRowTask& task) {
  return kThreads / task.threads_per_row;
}

// A float for each warp, and the rows' values.
int shared_bytes_of_rows(const GpuRowTask& task) {
  return static_cast<int>(sizeof(float)) * (kThreads / 32 + rows_of_block(task) * task.width);
}

GpuLaunch launch_of(std::string_view kernel, const GpuRowTask& task, void** arguments) {
  return {
      .kernel = kernel,
      .blocks = divide_up(task.num_rows, rows_of_block(task)),
      .threads = kThreads,
      .arguments = arguments};
}

GpuActivation kind_of(Activation activation) {
  switch (activation) {
    case Activation::Silu:
      return GpuActivation::Silu;
    case Activation::GeluTanh:
      return GpuActivation::GeluTanh;
    case Activation::Gelu:
      return GpuActivation::Gelu;
    case Activation::Relu:
      return GpuActivation::Relu;
  }
  throw InternalError("an activation without a kernel");
}

// [rows, width]
at::Tensor output_of(const at::Tensor& x, std::int64_t width, const RowTerms& terms) {
  const std::int64_t rows = x.dim() == 3 ? x.size(0) * x.size(1) : x.size(0);
  return at::empty({rows, width}, x.options().dtype(terms.out));
}

const float* data_or_null(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr<float>() : nullptr;
}

}  // namespace

at::Tensor gpu_combined_rows(
    const at::Tensor& x, double scale, const RowTerms& terms, GpuPrograms& programs) {
  at::Tensor out = output_of(x, x.size(1), terms);
  GpuRowTask task = task_of(x, terms, out, x.size(1));
  auto factor = static_cast<float>(scale);
  std::array<void*, 2> arguments{&task, &factor};
  programs.rows().launch(launch_of("limn_scale", task, arguments.data()));
  return out;
}

at::Tensor gpu_normed_rows(
    const at::Tensor& x, const Norm& norm, const RowTerms& terms, GpuPrograms& programs) {
  at::Tensor out = output_of(x, x.size(-1), terms);
  GpuRowTask task = task_of(x, terms, out, x.size(-1));
  GpuNorm of_row{
      .weight = data_or_null(norm.weight),
      .bias = data_or_null(norm.bias),
      .epsilon = static_cast<float>(norm.epsilon),
      .subtracts_mean = norm.subtracts_mean ? 1 : 0};
  std::array<void*, 2> arguments{&task, &of_row};
  GpuLaunch launch = launch_of("limn_norm", task, arguments.data());
  launch.shared_bytes = shared_bytes_of_rows(task);
  programs.rows().launch(launch);
  return out;
}

ScaledRows gpu_scaled_rows(const at::Tensor& x, GpuPrograms& programs) {
  const at::Tensor rows = x.contiguous();
  ScaledRows scaled{
      at::empty(x.sizes(), x.options().dtype(at::kFloat8_e4m3fn)),
      at::empty({x.size(0), 1}, x.options().dtype(at::kFloat))};
  GpuRowTask task = task_of(rows, {}, scaled.values, x.size(1));
  check(task.is_vectorizable != 0, "rows of {} elements do not become float8", x.size(1));
  auto* scales = scaled.scale.mutable_data_ptr<float>();
  std::array<void*, 2> arguments{&task, &scales};
  GpuLaunch launch = launch_of("limn_scale_to_float8", task, arguments.data());
  launch.shared_bytes = static_cast<int>(sizeof(float)) * kThreads / 32;
  programs.rows().launch(launch);
  return scaled;
}

at::Tensor gpu_activated_rows(
    const at::Tensor& x,
    Activation activation,
    bool gated,
    const RowTerms& terms,
    GpuPrograms& programs) {
  const std::int64_t width = gated ? x.size(1) / 2 : x.size(1);
  at::Tensor out = output_of(x, width, terms);
  GpuRowTask task = task_of(x, terms, out, width);
  GpuActivation kind = kind_of(activation);
  int is_gated = gated ? 1 : 0;
  if (terms.minus_is_of_base) {
    task.minus = {};
    task.minus_is_of_base = 1;
  }
  std::array<void*, 3> arguments{&task, &kind, &is_gated};
  programs.rows().launch(launch_of("limn_activate", task, arguments.data()));
  return out;
}

void gpu_rotate_rows(const RotationTask& task, std::int64_t num_rows, GpuPrograms& programs) {
  GpuRotationTask rotation{
      .x = task.x,
      .table_row = reinterpret_cast<const long long*>(task.table_row),
      .cos = task.cos,
      .sin = task.sin,
      .row_stride = task.row_stride,
      .num_rows = num_rows,
      .num_heads = static_cast<int>(task.num_heads),
      .head_dim = static_cast<int>(task.head_dim),
      .num_pairs = static_cast<int>(task.num_pairs),
      .pairs_neighbours = task.pairs_neighbours ? 1 : 0};
  std::array<void*, 1> arguments{&rotation};
  programs.rows().launch(
      {.kernel = "limn_rotate",
       .blocks = divide_up(num_rows * task.num_heads * task.num_pairs, kThreads),
       .threads = kThreads,
       .arguments = arguments.data()});
}

}  // namespace limn
