// Attention block by block, by the kernels of every instruction set that the processor has, against
// numbers computed by hand and against one full matrix of logits in float64.

#include "worker/suppressed_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/attention_problem.h"

namespace limn::test {

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr double kRounding = 1e-5;

// As attention_of_all_blocks().
at::Tensor attention(
    const SweepLayout& layout,
    const AttentionOptions& options,
    const Projected& projected,
    const AttentionKernels& kernels,
    RowSet rows,
    AttentionBuffers& buffers) {
  SuppressedAttention attention(layout, options, buffers, kernels);
  return attention_of_all_blocks(attention, layout, projected, rows);
}

class SuppressedAttentionTest : public testing::TestWithParam<InstructionSet> {
 protected:
  void SetUp() override {
    if (attention_kernels(GetParam()) == nullptr) GTEST_SKIP() << "not of this processor";
    // What is computed here is too little for several threads to make it faster.
    at::set_num_threads(1);
  }

  at::Tensor attention(
      const SweepLayout& layout,
      const AttentionOptions& options,
      const Projected& projected,
      RowSet rows = RowSet::All) const {
    AttentionBuffers buffers;
    return test::attention(
        layout, options, projected, *attention_kernels(GetParam()), rows, buffers);
  }

  at::Tensor attention(const Problem& problem, RowSet rows = RowSet::All) const {
    return attention(problem.layout, problem.options, problem.projected, rows);
  }

  at::Tensor attention(const Problem& problem, AttentionBuffers& buffers) const {
    return test::attention(
        problem.layout,
        problem.options,
        problem.projected,
        *attention_kernels(GetParam()),
        RowSet::All,
        buffers);
  }

  Attend attend() const {
    return [this](const Problem& problem, RowSet rows) { return attention(problem, rows); };
  }

  double error(const Problem& problem) const {
    return largest_error(attention(problem), problem.dense());
  }

  // What the rows from `first_row` on give to each key under a perturbation, where row i has the
  // logit [i][j] of key j: values, like keys, are the unit vectors. [rows, keys]
  at::Tensor shares(
      const at::Tensor& logits,
      const KeyFactors& factors,
      AttentionOptions options,
      std::int64_t first_row) const {
    const std::int64_t length = logits.size(0);
    const SweepLayout layout = lay_out({{.length = length, .factors = {factors}}}, kBlockRows);
    const at::Tensor unit_vectors = at::eye(length).index_select(0, layout.base_row).unsqueeze(1);
    const at::Tensor queries = logits.index_select(0, layout.base_row).unsqueeze(1);
    options.heads = {{0, 1, 0, 1}};
    const at::Tensor output = attention(layout, options, {queries, unit_vectors, unit_vectors});
    const Segment& segment = layout.segments[1];
    return rows_of(segment, output)
        .narrow(0, first_row - segment.row_begin, segment.row_end - first_row);
  }

  // Of rows 1 and 2 of the example.
  at::Tensor example_shares(const KeyFactors& factors, SuppressionKind kind) const {
    return shares(example_logits(), factors, {.suppression = kind}, 1).narrow(0, 0, 2);
  }

  // Row 1 sees keys 0 and 1, row 2 also key 2. The other two rows are not looked at.
  static at::Tensor example_logits() {
    return at::tensor({0.0F,
                       0.0F,
                       0.0F,
                       0.0F,  //
                       2.0F,
                       4.0F,
                       -6.0F,
                       -8.0F,  //
                       1.0F,
                       -3.0F,
                       5.0F,
                       -9.0F,  //
                       0.0F,
                       0.0F,
                       0.0F,
                       0.0F})
        .view({4, 4});
  }

  // The attention of one head of width 1 to three tokens with the values 3, 6 and 12, all logits 0:
  // of the base's rows, then of the perturbation's.
  at::Tensor uniform_attention(const KeyFactors& factors) const {
    const SweepLayout layout = lay_out({{.length = 3, .factors = {factors}}}, kBlockRows);
    const at::Tensor values = at::tensor({3.0F, 6.0F, 12.0F}).view({3, 1, 1});
    const at::Tensor all = values.index_select(0, layout.base_row);
    return attention(
               layout, {.heads = {{0, 1, 0, 1}}}, {at::ones_like(all), at::zeros_like(all), all})
        .flatten();
  }
};

// The softmax of the logits of two rows for four keys.
at::Tensor softmax_rows(std::initializer_list<float> logits) {
  return at::softmax(at::tensor(at::ArrayRef<float>(logits)).view({2, 4}), -1);
}

constexpr float kUnseen = -kInfinity;

}  // namespace

TEST_P(SuppressedAttentionTest, AddsTheLogarithmOfTheFactor) {
  const at::Tensor got = example_shares({{0, 2}, {0.5F, 2.0F}}, SuppressionKind::LogAdditive);
  const float log2 = std::log(2.0F);
  const at::Tensor expected =
      softmax_rows({2 - log2, 4, kUnseen, kUnseen, 1 - log2, -3, 5 + log2, kUnseen});
  EXPECT_TRUE(at::allclose(got, expected)) << got;
}

TEST_P(SuppressedAttentionTest, HidesAKeyOfFactorZero) {
  const at::Tensor got = example_shares({{1}, {0.0F}}, SuppressionKind::LogAdditive);
  const at::Tensor expected = softmax_rows({2, kUnseen, kUnseen, kUnseen, 1, kUnseen, 5, kUnseen});
  EXPECT_TRUE(at::allclose(got, expected)) << got;
  EXPECT_TRUE(at::equal(got.select(1, 1), at::zeros({2}))) << got;
}

TEST_P(SuppressedAttentionTest, MultipliesByTheFactor) {
  const at::Tensor got = example_shares({{0, 1}, {0.5F, 0.0F}}, SuppressionKind::Multiplicative);
  const at::Tensor expected = softmax_rows({1, 0, kUnseen, kUnseen, 0.5F, 0, 5, kUnseen});
  EXPECT_TRUE(at::allclose(got, expected)) << got;
}

TEST_P(SuppressedAttentionTest, ShiftsTowardsTheMinimumOfTheKeysThatARowSees) {
  // The minima are 2 (of 2, 4) and -3 (of 1, -3, 5), whatever lies in the rows' future.
  const at::Tensor got = example_shares({{1, 2}, {0.5F, 0.25F}}, SuppressionKind::Shifted);
  const at::Tensor expected = softmax_rows({2, 3, kUnseen, kUnseen, 1, -3, -1, kUnseen});
  EXPECT_TRUE(at::allclose(got, expected)) << got;
}

TEST_P(SuppressedAttentionTest, ShiftsToTheMinimumWithFactorZero) {
  const at::Tensor got = example_shares({{0, 1}, {0.0F, 0.0F}}, SuppressionKind::Shifted);
  const at::Tensor expected = softmax_rows({2, 2, kUnseen, kUnseen, -3, -3, 5, kUnseen});
  EXPECT_TRUE(at::allclose(got, expected)) << got;
}

TEST_P(SuppressedAttentionTest, ShiftsTowardsTheMinimumOfAllKeysIfAsked) {
  // The minima are -8 and -9, of keys that neither row sees.
  const at::Tensor got = example_shares({{1, 2}, {0.5F, 0.0F}}, SuppressionKind::ShiftedFull);
  const at::Tensor expected = softmax_rows({2, -2, kUnseen, kUnseen, 1, -6, -9, kUnseen});
  EXPECT_TRUE(at::allclose(got, expected)) << got;
}

TEST_P(SuppressedAttentionTest, PassesOverTheFactorsOfKeysThatARowDoesNotSee) {
  for (const SuppressionKind kind : kKinds) {
    const at::Tensor got = example_shares({{1, 3}, {0.5F, 0.0F}}, kind);
    EXPECT_TRUE(at::equal(got, example_shares({{1}, {0.5F}}, kind))) << static_cast<int>(kind);
  }
}

TEST_P(SuppressedAttentionTest, SuppressesEveryHeadAlike) {
  const SweepLayout layout = lay_out({{.length = 4, .factors = {{{1}, {0.5F}}}}}, kBlockRows);
  const auto of_heads = [&](std::int64_t kv_heads, std::int64_t queries_per_kv) {
    const at::Tensor queries = example_logits().index_select(0, layout.base_row).unsqueeze(1);
    const at::Tensor keys = at::eye(4).index_select(0, layout.base_row).unsqueeze(1);
    const at::Tensor of_kv = keys.expand({-1, kv_heads, -1});
    return attention(
        layout,
        {.heads = {{0, kv_heads, 0, queries_per_kv}}, .suppression = SuppressionKind::Shifted},
        {queries.expand({-1, kv_heads * queries_per_kv, -1}), of_kv, of_kv});
  };
  EXPECT_TRUE(at::equal(of_heads(3, 2), of_heads(1, 1).repeat({1, 6})));
}

TEST_P(SuppressedAttentionTest, AveragesTheVisibleKeysOfEqualLogits) {
  // In the perturbation key 0 counts a third of the others.
  const at::Tensor output = uniform_attention({{0}, {1 / 3.0F}});
  EXPECT_TRUE(at::allclose(
      output,
      at::tensor({3.0F, 4.5F, 7.0F, 3.0F, (1 + 6.0F) / (4 / 3.0F), (1 + 18.0F) / (7 / 3.0F)})))
      << output;
}

TEST_P(SuppressedAttentionTest, GivesZeroWhereARowSeesHiddenKeysAlone) {
  const at::Tensor first = uniform_attention({{0}, {0.0F}});
  EXPECT_TRUE(at::allclose(first, at::tensor({3.0F, 4.5F, 7.0F, 0.0F, 6.0F, 9.0F}))) << first;
  const at::Tensor all = uniform_attention({{0, 1, 2}, {0.0F, 0.0F, 0.0F}});
  EXPECT_TRUE(at::allclose(all, at::tensor({3.0F, 4.5F, 7.0F, 0.0F, 0.0F, 0.0F}))) << all;
}

TEST_P(SuppressedAttentionTest, ComputesOnlyTheRowsFromTheFirstSuppressedKeyOn) {
  const at::Tensor output = uniform_attention({{1}, {0.0F}});
  EXPECT_TRUE(at::allclose(output, at::tensor({3.0F, 4.5F, 7.0F, 3.0F, 7.5F}))) << output;
}

TEST_P(SuppressedAttentionTest, ShiftsTowardsTheMinimumInsideTheWindow) {
  // Rows 5 and 6 see keys 4, 5 and 5, 6: the minima are -6 (of 4, -6) and -9 (of 5, -9). Key 2 is
  // before both windows.
  at::Tensor logits = at::full({7, 7}, -20.0F);
  logits.narrow(0, 5, 2).narrow(1, 3, 4).copy_(example_logits().narrow(0, 1, 2));
  const at::Tensor got = shares(
      logits,
      {{2, 4, 5}, {0.1F, 0.5F, 0.5F}},
      {.window = 2, .suppression = SuppressionKind::Shifted},
      5);
  const at::Tensor expected = softmax_rows({kUnseen, -1, -6, kUnseen, kUnseen, kUnseen, -2, -9});
  EXPECT_TRUE(at::allclose(got.narrow(1, 3, 4), expected)) << got;
  EXPECT_TRUE(at::equal(got.narrow(1, 0, 3), at::zeros({2, 3}))) << got;
}

TEST_P(SuppressedAttentionTest, ASinkTakesPartInTheSoftmaxButNotInTheMinimum) {
  // The only key's logit, 2, is the minimum that it is shifted to; with the sink's it were 0.
  const at::Tensor got = shares(
      at::full({1, 1}, 4.0F),
      {{0}, {0.5F}},
      {.scale = 0.5, .sinks = at::full({1}, -2.0F), .suppression = SuppressionKind::Shifted},
      0);
  EXPECT_FLOAT_EQ(got.item<float>(), std::exp(2.0F) / (std::exp(2.0F) + std::exp(-2.0F)));
}

TEST_P(SuppressedAttentionTest, EqualsDenseAttentionWithAWindowOfAnyWidth) {
  Problem problem(lay_out(some_samples(), kBlockRows), {{0, 2, 0, 2}}, 6);
  ASSERT_GT(problem.layout.blocks.size(), 3U);
  for (const SuppressionKind kind : kKinds) {
    // None; less than a panel, a panel, more; more than the sample.
    for (const std::int64_t window : {0, 1, 5, 16, 64, 100, 151}) {
      EXPECT_LT(error(problem.with(kind, window)), kRounding)
          << "kind " << static_cast<int>(kind) << ", window " << window;
    }
  }
}

TEST_P(SuppressedAttentionTest, EqualsDenseAttentionWithSoftCapBiasAndSinks) {
  for (const SuppressionKind kind : kKinds) {
    for (const std::int64_t window : {0, 5, 70}) {
      const auto plain = [&] {
        return Problem(lay_out(some_samples(), kBlockRows), {{0, 2, 0, 2}}, 6).with(kind, window);
      };
      const std::string what =
          "kind " + std::to_string(static_cast<int>(kind)) + ", window " + std::to_string(window);
      EXPECT_LT(error(plain().with_softcap()), kRounding) << what;
      EXPECT_LT(error(plain().with_key_bias()), kRounding) << what;
      EXPECT_LT(error(plain().with_sinks()), kRounding) << what;
      EXPECT_LT(error(plain().with_softcap().with_key_bias().with_sinks()), kRounding) << what;
    }
  }
}

TEST_P(SuppressedAttentionTest, EqualsDenseAttentionForHeadsOfAnyWidth) {
  for (const std::int64_t head_dim : {1, 6, 20, 64, 80, 128}) {
    Problem problem(lay_out(some_samples(), kBlockRows), {{0, 2, 0, 2}}, head_dim);
    EXPECT_LT(error(problem.with(SuppressionKind::LogAdditive)), kRounding) << head_dim;
    EXPECT_LT(error(problem.with(SuppressionKind::ShiftedFull, 5)), kRounding) << head_dim;
  }
}

TEST_P(SuppressedAttentionTest, EqualsDenseAttentionForAnyNumberOfQueriesPerKey) {
  for (const std::int64_t queries_per_kv : {1, 3, 8, 71}) {
    Problem problem(lay_out(some_samples(), kBlockRows), {{0, 2, 0, queries_per_kv}}, 6);
    problem.with_sinks().with_key_bias();
    EXPECT_LT(error(problem.with(SuppressionKind::Shifted)), kRounding) << queries_per_kv;
    EXPECT_LT(error(problem.with(SuppressionKind::Shifted, 5)), kRounding) << queries_per_kv;
  }
}

TEST_P(SuppressedAttentionTest, EqualsDenseAttentionForRunsOfHeadsThatDiffer) {
  // As a rank gets them whose share ends inside a key/value head's queries.
  const std::vector<HeadRun> heads{{0, 1, 0, 1}, {1, 2, 1, 3}, {3, 1, 7, 8}};
  Problem problem(lay_out(some_samples(), kBlockRows), heads, 20);
  problem.with_sinks().with_key_bias();
  for (const SuppressionKind kind : kKinds)
    EXPECT_LT(error(problem.with(kind, 70)), kRounding) << static_cast<int>(kind);
}

TEST_P(SuppressedAttentionTest, EqualsDenseAttentionOverManyPanels) {
  Sample sample{.length = 330, .num_targets = 3};
  for (const std::int64_t first : {0, 1, 127, 128, 129, 192, 200, 329})
    sample.factors.push_back({{first}, {0.2F}});
  Problem problem(lay_out({sample}, kBlockRows), {{0, 1, 0, 3}}, 20);
  for (const SuppressionKind kind : kKinds) {
    for (const std::int64_t window : {0, 150})
      EXPECT_LT(error(problem.with(kind, window)), kRounding) << static_cast<int>(kind);
  }
}

TEST_P(SuppressedAttentionTest, GivesTheRowsOfTargetsAlonePreciselyAsAmongAll) {
  expect_targets_alone_as_among_all(attend(), {0, 5, 100});
}

TEST_P(SuppressedAttentionTest, GivesZeroWhereAWindowHasHiddenKeysAlone) {
  expect_zero_where_a_window_has_hidden_keys_alone(attend());
}

TEST_P(SuppressedAttentionTest, GivesZeroPreciselyInTheRowsThatTheLayoutCallsHidden) {
  std::vector<Sample> samples = some_samples();
  samples[0].factors.push_back({{0, 1, 2, 4, 5}, {0.0F, 0.0F, 0.0F, 0.0F, 0.0F}});
  samples[0].factors.push_back({{146, 147, 148, 149}, {0.0F, 0.0F, 0.5F, 0.0F}});
  Problem problem(lay_out(samples, kBlockRows), {{0, 2, 0, 2}}, 6);
  for (const SuppressionKind kind : kKinds) {
    for (const std::int64_t window : {0, 1, 2, 5, 200}) {
      problem.with(kind, window);
      for (const RowSet rows : {RowSet::All, RowSet::Targets}) {
        const at::Tensor is_zero = attention(problem, rows).eq(0).all(1);
        for (const RowBlock& block : problem.layout.blocks) {
          const Slice& slice = rows == RowSet::All ? block.rows : block.target_rows;
          const at::Tensor expected =
              is_zero.narrow(0, slice.begin, slice.size()).nonzero().squeeze(1);
          const at::Tensor hidden = hidden_rows(problem.layout, block, rows, window, kind);
          EXPECT_TRUE(at::equal(hidden, expected))
              << "kind " << static_cast<int>(kind) << ", window " << window;
        }
      }
    }
  }
}

TEST_P(SuppressedAttentionTest, GivesTheSameBitsWithAnyNumberOfThreads) {
  Problem problem(lay_out(some_samples(), kBlockRows), {{0, 2, 0, 2}}, 20);
  problem.with(SuppressionKind::Shifted, 70);
  std::vector<at::Tensor> outputs;
  for (const int threads : {1, 2, 3}) {
    at::set_num_threads(threads);
    outputs.push_back(attention(problem));
  }
  EXPECT_TRUE(at::equal(outputs[0], outputs[1]));
  EXPECT_TRUE(at::equal(outputs[0], outputs[2]));
}

TEST_P(SuppressedAttentionTest, GivesTheSameBitsInBlocksOfAnySize) {
  const auto output = [&](std::int64_t block_rows) {
    Problem problem(lay_out(some_samples(), block_rows), {{0, 2, 0, 2}}, 20);
    return attention(problem.with(SuppressionKind::ShiftedFull, 70));
  };
  const at::Tensor in_one_block = output(10000);
  for (const std::int64_t block_rows : {1, 64, 150, 200})
    EXPECT_TRUE(at::equal(output(block_rows), in_one_block)) << block_rows;
}

TEST_P(SuppressedAttentionTest, LetsNothingOutOfWhatItsBuffersHeldBefore) {
  std::vector<Sample> shorter = some_samples();
  shorter.erase(shorter.begin());
  for (Sample& sample : shorter)
    sample.stem.reset();  // that was erased
  for (const SuppressionKind kind : kKinds) {
    for (const std::int64_t window : {0, 5}) {
      Problem long_sweep(lay_out(some_samples(), kBlockRows), {{0, 2, 0, 2}}, 20);
      Problem short_sweep(lay_out(shorter, kBlockRows), {{0, 1, 0, 3}}, 6);
      short_sweep.with_softcap().with(kind, window);
      const at::Tensor expected = attention(short_sweep);

      AttentionBuffers buffers;
      attention(long_sweep.with(kind), buffers);
      EXPECT_TRUE(at::equal(attention(short_sweep, buffers), expected)) << static_cast<int>(kind);
      for (at::Tensor* const buffer : {&buffers.base, &buffers.own, &buffers.scratch})
        buffer->fill_(kNan);
      EXPECT_TRUE(at::equal(attention(short_sweep, buffers), expected)) << static_cast<int>(kind);
    }
  }
}

TEST_P(SuppressedAttentionTest, LetsANanOutInTheRowThatHasItAlone) {
  expect_a_nan_out_in_its_row_alone(attend());
}

namespace {

constexpr double kUlp = std::numeric_limits<float>::epsilon();

// What row 1 gives to its own key, which has the logit s, where key 0 has the logit 0: e^s / (1 +
// e^s). One for each head; logits [heads].
struct TwoKeys {
  SweepLayout layout = lay_out({{.length = 2}}, kBlockRows);
  Projected projected;

  explicit TwoKeys(const at::Tensor& logits) {
    const std::int64_t heads = logits.size(0);
    const at::Tensor zero = at::zeros({heads});
    projected.queries = at::ones({2, heads, 1});
    projected.keys = at::stack({zero, logits}).unsqueeze(2);
    projected.values = at::stack({zero, at::ones({heads})}).unsqueeze(2);
  }
};

}  // namespace

TEST_P(SuppressedAttentionTest, HasTheExponentialToAFewUnitsInTheLastPlace) {
  const at::Tensor logits = at::linspace(-87, 0, 3001);
  const TwoKeys two(logits);
  const at::Tensor got =
      attention(two.layout, {.heads = {{0, logits.size(0), 0, 1}}}, two.projected)[1];
  const at::Tensor expected = at::sigmoid(logits.to(at::kDouble));
  const double error = ((got.to(at::kDouble) - expected) / expected).abs().max().item<double>();
  EXPECT_LT(error, 3 * kUlp);
}

TEST_P(SuppressedAttentionTest, HasTheSoftCapToAFewUnitsInTheLastPlace) {
  // From where the tangent is the identity to where it is 1.
  for (const double softcap : {1.5, 20.0, 50.0}) {
    const at::Tensor logits = at::linspace(-10, 10, 4001) * softcap;
    const TwoKeys two(logits);
    const at::Tensor got = attention(
        two.layout, {.heads = {{0, logits.size(0), 0, 1}}, .softcap = softcap}, two.projected)[1];
    const at::Tensor capped = softcap * (logits.to(at::kDouble) / softcap).tanh();
    // An error of the logit is one of the logarithm.
    const at::Tensor error = (got.to(at::kDouble).log() - at::log_sigmoid(capped)).abs();
    const at::Tensor allowed = (3 + capped.abs()) * kUlp;
    EXPECT_TRUE((error < allowed).all().item<bool>()) << (error / allowed).max();
  }
}

INSTANTIATE_TEST_SUITE_P(
    Kernels,
    SuppressedAttentionTest,
    testing::Values(InstructionSet::Baseline, InstructionSet::Avx2, InstructionSet::Avx512),
    [](const auto& parameter) {
      switch (parameter.param) {
        case InstructionSet::Baseline:
          return "Baseline";
        case InstructionSet::Avx2:
          return "Avx2";
        case InstructionSet::Avx512:
          return "Avx512";
      }
      return "";
    });

}  // namespace limn::test
