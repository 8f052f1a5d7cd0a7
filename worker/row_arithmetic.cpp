#include "worker/row_arithmetic.h"

#include <optional>
#include <utility>
#include <variant>

#include <ATen/ATen.h>

#include "worker/gpu/gpu_rows.h"
#include "worker/row_operations.h"

namespace limn {

namespace {

// x W^T for differences, in bfloat16; of a weight in float8 by the GPU's product of scaled rows,
// whose sums have fewer bits than float32 and still many more than their addends.
template <typename Linear>
at::Tensor difference_product(const Linear& linear, const at::Tensor& x) {
  if (!linear.scale.defined()) return product(x, linear.weight);
  const ScaledRows rows = gpu_scaled_rows(x);
  return at::_scaled_mm(
      rows.values,
      linear.weight.t(),
      rows.scale,
      linear.scale.t(),
      std::nullopt,
      std::nullopt,
      at::kBFloat16,
      /*use_fast_accum=*/true);
}

// This rank's addend of a row-parallel layer, float32.
at::Tensor difference_addend(const RowParallelLinear& linear, const at::Tensor& x) {
  return linear.scale.defined() ? difference_product(linear, x).to(at::kFloat) : linear.addend(x);
}

}  // namespace

void ValueRows::record(Stage stage, const BaseTrace::Values& values) {
  if (trace_ != nullptr) trace_->at(stage) = values;
}

at::Tensor ValueRows::norm(
    Stage stage, const std::optional<Norm>& norm, const at::Tensor& x, at::ScalarType out) {
  if (!norm) return x;
  at::Tensor y = normed_rows(x, *norm, {.out = out});
  record(stage, {.in = x, .out = y});
  return y;
}

at::Tensor ValueRows::projections(const ColumnParallelLinear& linear, const at::Tensor& x) {
  at::Tensor y = linear(x).to(at::kFloat);
  // A copy, for the projections are rotated in place.
  if (trace_ != nullptr) record(Stage::Projections, {.out = y.clone()});
  return y;
}

at::Tensor ValueRows::attention_out(const RowParallelLinear& linear, const at::Tensor& values) {
  at::Tensor y = linear.addend(values);
  // A copy, for addends are summed in place.
  if (trace_ != nullptr) record(Stage::AttentionOut, {.in = values, .out = y.clone()});
  y = linear.sum(std::move(y));
  if (linear.bias.defined()) y.add_(linear.bias);
  return y;
}

at::Tensor ValueRows::mlp(const LayerWeights& layer, at::Tensor x) {
  if (const auto* const experts = std::get_if<ExpertMlp>(&layer.mlp)) {
    at::Tensor y = (*experts)(x);
    record(Stage::Mlp, {.in = x, .out = y});
    return y;
  }
  const Mlp& dense = std::get<Mlp>(layer.mlp);
  at::Tensor inner = dense.up(x);
  x.reset();  // before there is more
  const at::Tensor activated = dense.activated(inner);
  record(Stage::Mlp, {.inner = std::move(inner), .activated = activated});
  return dense.down(activated);
}

at::Tensor ValueRows::log_probs(
    const VocabularyParallelLogProb& head, const at::Tensor& x, const at::Tensor& ids) {
  record(Stage::Head, {.in = x});
  return head(x, ids);
}

BaseRows DifferenceRows::of_base(const at::Tensor& values) const {
  return {values, rows_.base_row};
}

at::Tensor DifferenceRows::norm(
    Stage stage, const std::optional<Norm>& norm, const at::Tensor& x, at::ScalarType out) {
  if (!norm) return x;
  const BaseTrace::Values& base = trace_.at(stage);
  return normed_rows(
      x,
      *norm,
      {.base = of_base(base.in), .minus = of_base(base.out), .out = out, .order = rows_.order});
}

at::Tensor DifferenceRows::projections(const ColumnParallelLinear& linear, const at::Tensor& x) {
  // The bias is in the base's value.
  return combined_rows(
      difference_product(linear, x),
      1,
      {.base = of_base(trace_.at(Stage::Projections).out), .order = rows_.order});
}

at::Tensor DifferenceRows::attention_out(
    const RowParallelLinear& linear, const at::Tensor& values) {
  const BaseTrace::Values& base = trace_.at(Stage::AttentionOut);
  at::Tensor y = difference_addend(
      linear,
      combined_rows(
          values,
          1,
          {.minus = of_base(base.in), .out = linear.input_dtype(), .order = rows_.order}));
  // A row that sees hidden keys alone loses all that the base had, and exactly: what rounded
  // products would leave of it, a norm would blow up.
  const at::Tensor& hidden = rows_.hidden;
  if (hidden.size(0) > 0) {
    const at::Tensor base_row = rows_.base_row.index_select(0, hidden);
    y.index_copy_(0, hidden, base.out.index_select(0, base_row).neg_());
  }
  return linear.sum(std::move(y));
}

at::Tensor DifferenceRows::mlp(const LayerWeights& layer, at::Tensor x) {
  const BaseTrace::Values& base = trace_.at(Stage::Mlp);
  // A row may choose other experts than its base: then nothing is linear.
  if (const auto* const experts = std::get_if<ExpertMlp>(&layer.mlp)) {
    x = combined_rows(x, 1, {.base = of_base(base.in)});
    const at::Tensor y = (*experts)(x);
    return combined_rows(y, 1, {.minus = of_base(base.out)});
  }
  const Mlp& dense = std::get<Mlp>(layer.mlp);
  at::Tensor inner = difference_product(dense.up, x);
  x.reset();  // before there is more
  const at::Tensor activated = activated_rows(
      inner,
      dense.activation,
      dense.kind == MlpKind::Gated,
      {.base = of_base(base.inner),
       .minus = of_base(base.activated),
       .out = dense.down.input_dtype(),
       .minus_is_of_base = true,
       .order = rows_.order});
  inner.reset();
  return dense.down.sum(difference_addend(dense.down, activated));
}

at::Tensor DifferenceRows::log_probs(
    const VocabularyParallelLogProb& head, const at::Tensor& x, const at::Tensor& ids) {
  return head.of_differences(x, ids, trace_.at(Stage::Head).in, rows_.base_row);
}

}  // namespace limn
