// The feed-forward half of a block against plain loops in float64, sharded and whole.

#include "worker/mlp.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <string>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "sharding/process_mesh.h"
#include "sharding/shard_layout.h"
#include "tests/random_tensor.h"

namespace limn::test {

namespace {

constexpr std::int64_t kHidden = 12;
constexpr std::int64_t kInner = 11;  // no number of ranks divides it
constexpr std::int64_t kExperts = 5;
constexpr double kRounding = 2e-6;  // relative to the largest value

double activated(double x, Activation activation) {
  switch (activation) {
    case Activation::Silu:
      return x / (1 + std::exp(-x));
    case Activation::Gelu:
      return x / 2 * (1 + std::erf(x / std::numbers::sqrt2));
    case Activation::GeluTanh:
      return x / 2 * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
    case Activation::Relu:
      return std::max(x, 0.0);
  }
  return std::nan("");
}

// [inner] float64
at::Tensor activated(at::Tensor x, Activation activation) {
  x = x.clone();
  for (std::int64_t i = 0; i < x.size(0); ++i)
    x[i] = activated(x[i].item<double>(), activation);
  return x;
}

// The weights of a whole network, float64. Not all of them have biases.
struct WholeMlp {
  at::Tensor gate = random_tensor({kInner, kHidden}, 1);
  at::Tensor up = random_tensor({kInner, kHidden}, 2);
  at::Tensor down = random_tensor({kHidden, kInner}, 3);
  at::Tensor gate_bias = random_tensor({kInner}, 4);
  at::Tensor up_bias = random_tensor({kInner}, 5);
  at::Tensor down_bias = random_tensor({kHidden}, 6);
};

WholeMlp whole_expert(std::int64_t index) {
  const auto seed = static_cast<unsigned>(10 * index + 100);
  return {
      .gate = random_tensor({kInner, kHidden}, seed + 1),
      .up = random_tensor({kInner, kHidden}, seed + 2),
      .down = random_tensor({kHidden, kInner}, seed + 3),
      .gate_bias = random_tensor({kInner}, seed + 4),
      .up_bias = random_tensor({kInner}, seed + 5),
      .down_bias = random_tensor({kHidden}, seed + 6)};
}

// One row through gpt_oss' kind of expert.
at::Tensor clamped_row(const WholeMlp& mlp, const at::Tensor& x) {
  const at::Tensor gate = (mlp.gate.mv(x) + mlp.gate_bias).clamp_max(7);
  const at::Tensor up = (mlp.up.mv(x) + mlp.up_bias).clamp(-7, 7);
  const at::Tensor inner = (up + 1) * gate / (1 + (-1.702 * gate).exp());
  return mlp.down.mv(inner) + mlp.down_bias;
}

at::Tensor gated_row(const WholeMlp& mlp, const at::Tensor& x, Activation activation) {
  return mlp.down.mv(activated(mlp.gate.mv(x), activation) * mlp.up.mv(x));
}

// The experts of a row, the best first, and their weights.
struct Choice {
  std::vector<std::int64_t> experts;
  std::vector<double> weights;
};

Choice choose(const at::Tensor& logits, const ExpertsConfig& config) {
  std::vector<double> logit;
  for (std::int64_t e = 0; e < kExperts; ++e)
    logit.push_back(logits[e].item<double>());
  Choice choice;
  choice.experts.resize(kExperts);
  std::iota(choice.experts.begin(), choice.experts.end(), std::int64_t{0});
  std::ranges::sort(choice.experts, [&](std::int64_t a, std::int64_t b) {
    return logit[static_cast<std::size_t>(a)] > logit[static_cast<std::size_t>(b)];
  });
  double sum_of_all = 0;
  for (const double one : logit)
    sum_of_all += std::exp(one);
  choice.experts.resize(static_cast<std::size_t>(config.num_chosen));
  double sum_of_chosen = 0;
  for (const std::int64_t e : choice.experts) {
    choice.weights.push_back(std::exp(logit[static_cast<std::size_t>(e)]));
    sum_of_chosen += choice.weights.back();
  }
  const bool sums_to_one = config.softmax_chosen_only || config.renormalize;
  for (double& weight : choice.weights)
    weight /= sums_to_one ? sum_of_chosen : sum_of_all;
  return choice;
}

// The experts of a whole model, and this rank's share of them.
class ExpertMlpTest : public testing::Test {
 protected:
  ExpertMlpTest() {
    for (std::int64_t e = 0; e < kExperts; ++e)
      experts_.push_back(whole_expert(e));
  }

  ExpertMlp sharded(const ExpertsConfig& config) const {
    const Slice inner = even_slice(kInner, ranks->size(), ranks->rank());
    ExpertMlp mlp{
        .config = config,
        .activation = Activation::Silu,
        .router = router_.to(at::kFloat),
        .tensor_ranks = ranks.get()};
    if (config.clamped_with_bias) mlp.router_bias = router_bias_.to(at::kFloat);
    for (const WholeMlp& whole : experts_) {
      Expert& expert = mlp.experts.emplace_back();
      expert.gate_up = at::cat({rows(whole.gate, inner), rows(whole.up, inner)});
      expert.down = columns(whole.down, inner);
      if (!config.clamped_with_bias) continue;
      expert.gate_up_bias = at::cat({rows(whole.gate_bias, inner), rows(whole.up_bias, inner)});
      if (ranks->rank() == 0) expert.down_bias = whole.down_bias.to(at::kFloat);
    }
    return mlp;
  }

  at::Tensor expected_row(const ExpertsConfig& config, const at::Tensor& x) const {
    at::Tensor logits = router_.mv(x);
    if (config.clamped_with_bias) logits = logits + router_bias_;
    const Choice choice = choose(logits, config);
    at::Tensor y = at::zeros({kHidden}, at::kDouble);
    for (std::size_t i = 0; i < choice.experts.size(); ++i) {
      const WholeMlp& expert = experts_[static_cast<std::size_t>(choice.experts[i])];
      y += choice.weights[i] * (config.clamped_with_bias ? clamped_row(expert, x)
                                                         : gated_row(expert, x, Activation::Silu));
    }
    return y;
  }

  // Relative to the largest value.
  double error(const ExpertsConfig& config, const at::Tensor& x) const {
    std::vector<at::Tensor> expected;
    for (std::int64_t row = 0; row < x.size(0); ++row)
      expected.push_back(expected_row(config, x[row]));
    const at::Tensor all = at::stack(expected);
    return largest_error(sharded(config)(x.to(at::kFloat)), all) / all.abs().max().item<double>();
  }

  std::unique_ptr<Communicator> ranks = world_communicator();
  at::Tensor router_ = random_tensor({kExperts, kHidden}, 7) * 0.5;
  at::Tensor router_bias_ = random_tensor({kExperts}, 8);
  std::vector<WholeMlp> experts_;
  at::Tensor x_ = random_tensor({17, kHidden}, 9);
};

ExpertsConfig choose_two() {
  return {.num_experts = kExperts, .num_chosen = 2, .inner = kInner};
}

}  // namespace

TEST_F(ExpertMlpTest, SumsTheChosenExpertsByRenormalisedWeights) {
  EXPECT_LT(error(choose_two(), x_), kRounding);
}

TEST_F(ExpertMlpTest, KeepsTheWeightsOfTheSoftmaxOverAllIfAsked) {
  ExpertsConfig config = choose_two();
  config.renormalize = false;
  EXPECT_LT(error(config, x_), kRounding);
}

TEST_F(ExpertMlpTest, TakesTheSoftmaxOfTheChosenLogitsAloneIfAsked) {
  ExpertsConfig config = choose_two();
  config.softmax_chosen_only = true;
  config.renormalize = false;
  EXPECT_LT(error(config, x_), kRounding);
}

TEST_F(ExpertMlpTest, ClampsGateAndUpAndAddsBiasesOnce) {
  ExpertsConfig config = choose_two();
  config.softmax_chosen_only = true;
  config.clamped_with_bias = true;
  // Half of the gates and ups are beyond 7.
  EXPECT_LT(error(config, x_ * 3), kRounding);
  EXPECT_LT(error(config, x_ * 0.1), kRounding);
}

TEST_F(ExpertMlpTest, TakesAnyNumberOfExperts) {
  for (const std::int64_t chosen : {1, 4, 5}) {
    ExpertsConfig config = choose_two();
    config.num_chosen = chosen;
    EXPECT_LT(error(config, x_), kRounding) << chosen;
  }
}

TEST_F(ExpertMlpTest, LeavesExpertsAloneThatNoRowChooses) {
  ExpertsConfig config = choose_two();
  config.num_chosen = 1;
  EXPECT_LT(error(config, x_.narrow(0, 3, 1)), kRounding);
}

TEST(MlpTest, EqualsTheFormulaWithEveryActivationGatedAndPlain) {
  const std::unique_ptr<Communicator> ranks = world_communicator();
  const Slice inner = even_slice(kInner, ranks->size(), ranks->rank());
  const WholeMlp whole;
  const at::Tensor x = random_tensor({5, kHidden}, 9);
  for (const auto activation :
       {Activation::Silu, Activation::Gelu, Activation::GeluTanh, Activation::Relu}) {
    const RowParallelLinear down{.weight = columns(whole.down, inner), .tensor_ranks = ranks.get()};
    const Mlp gated{
        .kind = MlpKind::Gated,
        .activation = activation,
        .up = {.weight = at::cat({rows(whole.gate, inner), rows(whole.up, inner)})},
        .down = down};
    const Mlp plain{
        .kind = MlpKind::Plain,
        .activation = activation,
        .up = {.weight = rows(whole.up, inner), .bias = rows(whole.up_bias, inner)},
        .down = down};
    const at::Tensor gated_rows = gated(x.to(at::kFloat));
    const at::Tensor plain_rows = plain(x.to(at::kFloat));
    for (std::int64_t row = 0; row < x.size(0); ++row) {
      const at::Tensor expected = gated_row(whole, x[row], activation);
      EXPECT_LT(largest_error(gated_rows[row], expected), 1e-4);
      const at::Tensor inner_row = activated(whole.up.mv(x[row]) + whole.up_bias, activation);
      EXPECT_LT(largest_error(plain_rows[row], whole.down.mv(inner_row)), 2e-5);
    }
  }
}

}  // namespace limn::test
