#include "worker/mlp.h"

#include <tuple>

#include <ATen/ATen.h>

#include "worker/row_operations.h"

namespace limn {

namespace {

// gpt_oss: (up + 1) gate sigmoid(1.702 gate), gate at most 7, up between -7 and 7.
at::Tensor clamped_gated(const at::Tensor& gate_up) {
  constexpr double kLimit = 7;
  const auto halves = gate_up.chunk(2, 1);
  const at::Tensor gate = halves[0].clamp_max(kLimit);
  const at::Tensor up = halves[1].clamp(-kLimit, kLimit);
  return (up + 1).mul_(gate).mul_(at::sigmoid(gate * 1.702));
}

// This rank's addend of one expert's output: [rows, hidden].
at::Tensor expert_output(const ExpertMlp& mlp, const Expert& expert, const at::Tensor& x) {
  at::Tensor gate_up = product(x, expert.gate_up).to(at::kFloat);
  if (expert.gate_up_bias.defined()) gate_up.add_(expert.gate_up_bias);
  const at::Tensor inner = mlp.config.clamped_with_bias
                               ? clamped_gated(gate_up)
                               : activated_rows(gate_up, mlp.activation, /*gated=*/true, {});
  at::Tensor y = product(inner, expert.down).to(at::kFloat);
  if (expert.down_bias.defined()) y.add_(expert.down_bias);
  return y;
}

struct Routing {
  at::Tensor expert;  // [rows, chosen] int64
  at::Tensor weight;  // [rows, chosen]
};

Routing route(const ExpertMlp& mlp, const at::Tensor& x) {
  at::Tensor logits = at::linear(x, mlp.router);  // [rows, experts]
  if (mlp.router_bias.defined()) logits.add_(mlp.router_bias);
  if (mlp.config.softmax_chosen_only) {
    const auto [chosen, expert] = logits.topk(mlp.config.num_chosen, -1);
    return {expert, at::softmax(chosen, -1)};
  }
  auto [weight, expert] = at::softmax(logits, -1).topk(mlp.config.num_chosen, -1);
  if (mlp.config.renormalize) weight = weight / weight.sum(-1, /*keepdim=*/true);
  return {expert, weight};
}

}  // namespace

at::Tensor Mlp::activated(const at::Tensor& inner) const {
  return activated_rows(inner, activation, kind == MlpKind::Gated, {.out = down.input_dtype()});
}

at::Tensor Mlp::operator()(const at::Tensor& x) const {
  return down(activated(up(x)));
}

at::Tensor ExpertMlp::operator()(const at::Tensor& x) const {
  const Routing routing = route(*this, x);
  at::Tensor y = at::zeros_like(x);  // [rows, hidden]
  for (std::size_t e = 0; e < experts.size(); ++e) {
    // The rows that chose this expert, and as which of their choices.
    const auto chosen = routing.expert.eq(static_cast<std::int64_t>(e)).nonzero_numpy();
    const at::Tensor& rows = chosen[0];
    if (rows.size(0) == 0) continue;
    const at::Tensor weight = routing.weight.index({rows, chosen[1]}).unsqueeze(1);
    y.index_add_(0, rows, expert_output(*this, experts[e], x.index_select(0, rows)).mul_(weight));
  }
  tensor_ranks->all_reduce(y, ReduceOp::Sum);
  return y;
}

}  // namespace limn
