// Rows as differences from the base's against rows as values, which are base + difference: the same
// computation, sharded and whole.

#include "worker/row_arithmetic.h"

#include <optional>
#include <utility>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "sharding/process_mesh.h"
#include "sharding/shard_layout.h"
#include "tests/random_tensor.h"

namespace limn::test {

namespace {

constexpr std::int64_t kHidden = 12;
constexpr std::int64_t kInner = 11;  // no number of ranks divides it
constexpr std::int64_t kVocabulary = 29;
constexpr double kRounding = 2e-6;  // relative to the largest value

at::Tensor single(const at::Tensor& exact) {
  return exact.to(at::kFloat);
}

// Exact in bfloat16.
at::Tensor coarse(const at::Tensor& exact) {
  return exact.to(at::kBFloat16).to(at::kFloat);
}

class RowArithmeticTest : public testing::Test {
 protected:
  at::Tensor of_own_base(const at::Tensor& of_base) const {
    return of_base.index_select(0, base_row);
  }

  // What `function` of values makes of the difference, computed from values and as differences:
  // how far these are from each other, relative to the largest.
  template <typename Function>
  double error(const Function& function) {
    const at::Tensor of_base = function(base_rows, base);
    const at::Tensor expected =
        function(value_rows, of_own_base(base) + difference) - of_own_base(of_base);
    const at::Tensor got = function(difference_rows, difference);
    return relative_error(got, expected);
  }

  static double relative_error(const at::Tensor& got, const at::Tensor& expected) {
    return ((got - expected).abs().max() / expected.abs().max()).item<double>();
  }

  Slice share_of(std::int64_t width) const {
    return even_slice(width, ranks->size(), ranks->rank());
  }

  // [hidden, width/t], and a bias.
  RowParallelLinear row_parallel(std::int64_t width, unsigned seed) const {
    return {
        columns(random_tensor({kHidden, width}, seed), share_of(width)),
        single(random_tensor({kHidden}, seed + 1)),
        ranks.get()};
  }

  LayerWeights with_mlp(MlpKind kind, Activation activation) const {
    const Slice inner = share_of(kInner);
    at::Tensor weight = rows(random_tensor({kInner, kHidden}, 21), inner);
    at::Tensor bias = rows(random_tensor({kInner}, 22), inner);
    if (kind == MlpKind::Gated) {
      weight = at::cat({weight, rows(random_tensor({kInner, kHidden}, 23), inner)});
      bias = at::cat({bias, rows(random_tensor({kInner}, 24), inner)});
    }
    LayerWeights layer;
    layer.mlp =
        Mlp{.kind = kind,
            .activation = activation,
            .up = {.weight = weight, .bias = bias},
            .down = row_parallel(kInner, 25)};
    return layer;
  }

  LayerWeights with_experts(std::int64_t num_experts) const {
    const Slice inner = share_of(kInner);
    ExpertMlp mlp{
        .config = {.num_experts = num_experts, .num_chosen = 2, .inner = kInner},
        .router = single(random_tensor({num_experts, kHidden}, 31)),
        .tensor_ranks = ranks.get()};
    for (std::int64_t i = 0; i < num_experts; ++i) {
      const auto seed = static_cast<unsigned>(40 + 3 * i);
      mlp.experts.push_back(
          {.gate_up = at::cat(
               {rows(random_tensor({kInner, kHidden}, seed), inner),
                rows(random_tensor({kInner, kHidden}, seed + 1), inner)}),
           .down = columns(random_tensor({kHidden, kInner}, seed + 2), inner)});
    }
    LayerWeights layer;
    layer.mlp = std::move(mlp);
    return layer;
  }

  VocabularyParallelLogProb head() const {
    const Slice vocabulary = share_of(kVocabulary);
    return {
        .weight = coarse(rows(random_tensor({kVocabulary, kHidden}, 51), vocabulary)),
        .vocabulary = vocabulary,
        .tensor_ranks = ranks.get()};
  }

  // Of the difference that a head makes. The difference's products are rounded to bfloat16, all
  // else is exact: weights and differences are bfloat16's.
  double log_prob_error(const VocabularyParallelLogProb& head) {
    const at::Tensor ids = at::tensor({0, 3, 28, 14, 9, 10, 20}, at::kLong);
    const at::Tensor of_base = base_rows.log_probs(head, base, ids.narrow(0, 0, 4));
    const at::Tensor before = value_rows.log_probs(head, of_own_base(base), ids);
    const at::Tensor small = coarse(difference / 64);
    const at::Tensor after = value_rows.log_probs(head, of_own_base(base) + small, ids);
    return relative_error(difference_rows.log_probs(head, small, ids) - before, after - before);
  }

  std::unique_ptr<Communicator> ranks = world_communicator();
  const at::Tensor base_row = at::tensor({0, 2, 1, 3, 3, 0, 2}, at::kLong);
  const at::Tensor base = single(random_tensor({4, kHidden}, 1));
  const at::Tensor difference = single(random_tensor({7, kHidden}, 2)) * 0.5;
  BaseTrace trace;
  ValueRows base_rows{&trace};
  ValueRows value_rows;
  const at::Tensor none = at::empty({0}, at::kLong);
  DifferenceRows difference_rows{trace, {base_row, none, {}}, {base_row, none, {}}};
};

}  // namespace

TEST_F(RowArithmeticTest, NormsDifferencesAsValues) {
  const at::Tensor weight = single(random_tensor({kHidden}, 3));
  const at::Tensor bias = single(random_tensor({kHidden}, 4));
  const std::optional<Norm> norms[] = {
      std::nullopt,
      Norm{.epsilon = 1e-5},
      Norm{.epsilon = 0.5, .weight = weight},
      Norm{.subtracts_mean = true, .epsilon = 1e-5},
      Norm{.subtracts_mean = true, .epsilon = 1e-5, .weight = weight, .bias = bias}};
  for (const auto& norm : norms) {
    EXPECT_LT(
        error([&](RowArithmetic& arithmetic, const at::Tensor& x) {
          return arithmetic.norm(Stage::MlpInNorm, norm, x, at::kFloat);
        }),
        kRounding);
  }
}

TEST_F(RowArithmeticTest, KeepsTheStagesOfALayerApart) {
  const std::optional<Norm> norm = Norm{.epsilon = 1e-5};
  const at::Tensor other = base * 3 + 1;
  base_rows.norm(Stage::AttentionInNorm, norm, base, at::kFloat);
  const at::Tensor of_base = base_rows.norm(Stage::FinalNorm, norm, other, at::kFloat);
  const at::Tensor expected =
      value_rows.norm(Stage::FinalNorm, norm, of_own_base(other) + difference, at::kFloat) -
      of_own_base(of_base);
  const at::Tensor got = difference_rows.norm(Stage::FinalNorm, norm, difference, at::kFloat);
  EXPECT_LT(relative_error(got, expected), kRounding);
}

TEST_F(RowArithmeticTest, ComparesTargetRowsWithTheBasesTargetRowsOnceOnlyTheyAreKept) {
  const std::optional<Norm> norm = Norm{.epsilon = 1e-5};
  // Of the base's rows two are target rows, as are the last three of the differences.
  const at::Tensor base_targets = base.narrow(0, 2, 2);
  const at::Tensor base_target_row = at::tensor({1, 0, 0}, at::kLong);
  const at::Tensor targets = difference.narrow(0, 4, 3);
  DifferenceRows target_rows(trace, {base_row, none, {}}, {base_target_row, none, {}});
  target_rows.keep_targets();
  const at::Tensor of_base = base_rows.norm(Stage::MlpInNorm, norm, base_targets, at::kFloat);
  const at::Tensor expected = value_rows.norm(
                                  Stage::MlpInNorm,
                                  norm,
                                  base_targets.index_select(0, base_target_row) + targets,
                                  at::kFloat) -
                              of_base.index_select(0, base_target_row);
  const at::Tensor got = target_rows.norm(Stage::MlpInNorm, norm, targets, at::kFloat);
  EXPECT_LT(relative_error(got, expected), kRounding);
}

TEST_F(RowArithmeticTest, ProjectsDifferencesToTheValuesOfQueriesKeysAndValues) {
  for (const bool has_bias : {false, true}) {
    ColumnParallelLinear linear{.weight = rows(random_tensor({20, kHidden}, 5), share_of(20))};
    if (has_bias) linear.bias = rows(random_tensor({20}, 6), share_of(20));
    base_rows.projections(linear, base);
    const at::Tensor expected = value_rows.projections(linear, of_own_base(base) + difference);
    EXPECT_LT(relative_error(difference_rows.projections(linear, difference), expected), kRounding);
  }
}

TEST_F(RowArithmeticTest, TakesTheAttentionsOutputAsValuesAndGivesItsProductAsDifferences) {
  for (const bool has_bias : {false, true}) {
    RowParallelLinear linear = row_parallel(16, 7);
    if (!has_bias) linear.bias.reset();
    const at::Tensor of_base = columns(random_tensor({4, 16}, 8), share_of(16));
    at::Tensor values = columns(random_tensor({7, 16}, 9), share_of(16));
    // One row sees nothing, another nothing in the heads of one rank.
    values[3].zero_();
    if (ranks->rank() == 0) values[5].zero_();
    DifferenceRows some_hidden(trace, {base_row, at::tensor({3}, at::kLong), {}}, {});
    const at::Tensor out_of_base = base_rows.attention_out(linear, of_base);
    const at::Tensor expected = value_rows.attention_out(linear, values) - of_own_base(out_of_base);
    EXPECT_LT(relative_error(some_hidden.attention_out(linear, values), expected), kRounding);
  }
}

TEST_F(RowArithmeticTest, LeavesNothingButTheBiasOfARowWithoutAttentionEvenInBfloat16) {
  const RowParallelLinear linear = row_parallel(16, 7);
  RowParallelLinear rounded = linear;
  rounded.weight = linear.weight.to(at::kBFloat16);
  const at::Tensor out_of_base =
      base_rows.attention_out(linear, columns(random_tensor({4, 16}, 8), share_of(16)));
  at::Tensor values = columns(random_tensor({7, 16}, 9), share_of(16));
  values[3].zero_();
  values[6].zero_();
  DifferenceRows some_hidden(trace, {base_row, at::tensor({3, 6}, at::kLong), {}}, {});
  const at::Tensor left =
      some_hidden.attention_out(rounded, values) + of_own_base(out_of_base) - linear.bias;
  const double largest = out_of_base.abs().max().item<double>();
  for (const std::int64_t row : {3, 6})
    EXPECT_LT(left[row].abs().max().item<double>(), kRounding * largest) << row;
}

TEST_F(RowArithmeticTest, TakesDifferencesThroughADenseMlp) {
  for (const auto kind : {MlpKind::Plain, MlpKind::Gated}) {
    for (const auto activation :
         {Activation::Silu, Activation::Gelu, Activation::GeluTanh, Activation::Relu}) {
      const LayerWeights layer = with_mlp(kind, activation);
      EXPECT_LT(
          error([&](RowArithmetic& arithmetic, const at::Tensor& x) {
            return arithmetic.mlp(layer, x);
          }),
          kRounding)
          << static_cast<int>(kind) << ' ' << static_cast<int>(activation);
    }
  }
}

TEST_F(RowArithmeticTest, TakesDifferencesThroughTheExpertsThatTheirValuesChoose) {
  const LayerWeights layer = with_experts(5);
  EXPECT_LT(
      error(
          [&](RowArithmetic& arithmetic, const at::Tensor& x) { return arithmetic.mlp(layer, x); }),
      kRounding);
}

TEST_F(RowArithmeticTest, ProjectsDifferencesOut) {
  const at::Tensor weight = single(random_tensor({7, kHidden}, 10));
  EXPECT_LT(
      error([&](RowArithmetic&, const at::Tensor& x) { return product(x, weight); }), kRounding);
}

TEST_F(RowArithmeticTest, GivesTheLogProbabilitiesOfDifferences) {
  // Half a unit of bfloat16's last place for each logit, and as much for the softmax's sum of them.
  constexpr double kCoarseRounding = 1.0 / 256;
  VocabularyParallelLogProb plain = head();
  EXPECT_LT(log_prob_error(plain), kCoarseRounding);
  VocabularyParallelLogProb biased = plain;
  biased.bias = rows(random_tensor({kVocabulary}, 52), plain.vocabulary);
  EXPECT_LT(log_prob_error(biased), kCoarseRounding);
  VocabularyParallelLogProb scaled = biased;
  scaled.scale = 0.3;
  EXPECT_LT(log_prob_error(scaled), kCoarseRounding);
  VocabularyParallelLogProb capped = scaled;
  capped.softcap = 1.5;
  EXPECT_LT(log_prob_error(capped), kCoarseRounding);
}

}  // namespace limn::test
