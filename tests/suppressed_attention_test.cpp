#include "worker/suppressed_attention.h"

#include <cmath>
#include <limits>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/random_tensor.h"

namespace limn::test {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr double kRounding = 1e-5;

// Logits of the rows at positions 1 and 2, keys 0 to 3. Row 1 sees keys 0 and 1, row 2 also key 2.
at::Tensor example_logits() {
  return at::tensor({2.0F, 4.0F, -6.0F, -8.0F, 1.0F, -3.0F, 5.0F, -9.0F}).view({2, 4});
}

at::Tensor suppressed(const KeyFactors& factors, SuppressionKind kind) {
  at::Tensor logits = example_logits();
  suppress_logits(logits, factors, kind, {.first_row = 1});
  return logits;
}

at::Tensor rows(std::initializer_list<float> values) {
  return at::tensor(at::ArrayRef<float>(values)).view({2, 4});
}

// The attention of one head of width 1 to three tokens with these values, all keys 0.
at::Tensor uniform_attention(const KeyFactors& factors, SuppressionKind kind) {
  BatchPiece piece;
  piece.tokens = {5, 6, 7};
  piece.target_ids = {1};
  piece.prompt_length = 3;
  piece.perturbations = {{{0}}};
  const SweepLayout layout = lay_out_sweep({0, {piece}}, {{factors}});
  const at::Tensor values = at::tensor({3.0F, 6.0F, 12.0F}).view({3, 1, 1});
  const at::Tensor all = values.index_select(0, layout.base_row);
  const AttentionOptions options{.heads = {{0, 1, 0, 1}}, .scale = 1, .suppression = kind};
  const at::Tensor output = suppressed_attention(
      at::ones_like(all), at::zeros_like(all), all, layout, RowSet::All, options);
  return output.flatten();
}

constexpr SuppressionKind kKinds[] = {
    SuppressionKind::LogAdditive,
    SuppressionKind::Multiplicative,
    SuppressionKind::Shifted,
    SuppressionKind::ShiftedFull};

// Of one sample, longer than two blocks of rows, with two perturbations: four query heads that
// share two key/value heads.
class DenseAttentionTest : public testing::Test {
 protected:
  static constexpr std::int64_t kLength = 150;
  static constexpr std::int64_t kHeadDim = 6;

  DenseAttentionTest() {
    BatchPiece piece;
    piece.tokens.assign(kLength, 1);
    piece.target_ids = {1, 1, 1, 1};
    piece.prompt_length = kLength - 3;
    piece.perturbations.resize(2);
    layout_ = lay_out_sweep({0, {piece}}, {factors_});
    queries_ = random_tensor({layout_.num_rows, 4, kHeadDim}, 1) * 1.5;
    keys_ = random_tensor({layout_.num_rows, 2, kHeadDim}, 2);
    values_ = random_tensor({layout_.num_rows, 2, kHeadDim}, 3);
  }

  AttentionOptions options(SuppressionKind kind, std::int64_t window) const {
    return {.heads = {{0, 2, 0, 2}}, .scale = 0.7, .window = window, .suppression = kind};
  }

  at::Tensor attention(const AttentionOptions& options, RowSet rows = RowSet::All) const {
    at::Tensor queries = queries_.to(at::kFloat);
    if (rows == RowSet::Targets) queries = queries.index_select(0, layout_.target_row);
    return suppressed_attention(
        queries, keys_.to(at::kFloat), values_.to(at::kFloat), layout_, rows, options);
  }

  // The same of all rows in float64, with one full matrix of logits for each segment.
  at::Tensor dense_attention(const AttentionOptions& options) const {
    const SampleSegments& sample = layout_.samples[0];
    std::vector<at::Tensor> outputs{dense_segment(sample.base, options)};
    for (const Segment& segment : sample.perturbed)
      outputs.push_back(dense_segment(segment, options));
    return at::cat(outputs);
  }

  double error(const AttentionOptions& options) const {
    return largest_error(attention(options), dense_attention(options));
  }

  // Some keys, the first among them, and a whole window of hidden ones.
  const std::vector<KeyFactors> factors_{
      {{0, 1, 70, 149}, {0.0F, 0.5F, 3.0F, 0.25F}},
      {{40, 41, 42, 43, 44, 45, 46, 90}, {0.0F, 0.0F, 0.0F, 0.0F, 0.0F, 0.0F, 0.0F, 0.5F}}};
  SweepLayout layout_;
  at::Tensor queries_, keys_, values_;  // of all packed rows, float64

 private:
  // What the segment's rows see: the base's keys or values up to its first row, then its own.
  // [4, kLength, kHeadDim]
  at::Tensor seen_by(const Segment& segment, const at::Tensor& all) const {
    const at::Tensor own = all.narrow(0, segment.packed_begin, segment.num_rows());
    return at::cat({all.narrow(0, 0, segment.row_begin), own})
        .transpose(0, 1)
        .repeat_interleave(2, 0);
  }

  at::Tensor dense_segment(const Segment& segment, const AttentionOptions& options) const {
    const at::Tensor q =
        queries_.narrow(0, segment.packed_begin, segment.num_rows()).transpose(0, 1);
    at::Tensor s = at::matmul(q, seen_by(segment, keys_).transpose(1, 2)) * options.scale;
    if (options.key_bias.defined()) s = s + options.key_bias.to(at::kDouble).unsqueeze(1);
    if (options.softcap > 0) s = options.softcap * (s / options.softcap).tanh();

    const at::Tensor row = at::arange(segment.row_begin, kLength).unsqueeze(1);
    const at::Tensor key = at::arange(kLength);
    at::Tensor unseen = key > row;
    if (options.window > 0) unseen = unseen | (key <= row - options.window);
    s = suppressed_dense(s, segment.factors, options.suppression, unseen)
            .masked_fill(unseen, -kInfinity);

    const at::Tensor all_hidden = (s == -kInfinity).all(-1, /*keepdim=*/true);
    at::Tensor weights;
    if (options.sinks.defined()) {
      const at::Tensor sink =
          options.sinks.to(at::kDouble).view({4, 1, 1}).expand({4, s.size(1), 1});
      weights = at::softmax(at::cat({s, sink}, -1), -1).narrow(-1, 0, kLength);
    } else {
      weights = at::where(all_hidden, 0.0, at::softmax(s, -1));
    }
    return at::matmul(weights, seen_by(segment, values_)).transpose(0, 1);
  }

  static at::Tensor suppressed_dense(
      const at::Tensor& s,
      const KeyFactors& factors,
      SuppressionKind kind,
      const at::Tensor& unseen) {
    at::Tensor f = at::ones({kLength}, at::kDouble);
    for (std::size_t i = 0; i < factors.positions.size(); ++i)
      f[factors.positions[i]] = factors.factors[i];
    if (kind == SuppressionKind::LogAdditive) return s + f.log();
    if (kind == SuppressionKind::Multiplicative) return s * f;
    const at::Tensor counted =
        kind == SuppressionKind::Shifted ? s.masked_fill(unseen, kInfinity) : s;
    const at::Tensor m = counted.amin(-1, /*keepdim=*/true);
    return m + f * (s - m);
  }
};

}  // namespace

TEST(SuppressedAttentionTest, AddsTheLogarithmOfTheFactor) {
  const at::Tensor logits = suppressed({{0, 2}, {0.5F, 2.0F}}, SuppressionKind::LogAdditive);
  const float log2 = std::log(2.0F);
  EXPECT_TRUE(at::allclose(logits, rows({2 - log2, 4, -6 + log2, -8, 1 - log2, -3, 5 + log2, -9})))
      << logits;
}

TEST(SuppressedAttentionTest, HidesAKeyOfFactorZero) {
  const at::Tensor logits = suppressed({{1}, {0.0F}}, SuppressionKind::LogAdditive);
  EXPECT_TRUE(at::equal(logits, rows({2, -kInfinity, -6, -8, 1, -kInfinity, 5, -9}))) << logits;
}

TEST(SuppressedAttentionTest, MultipliesByTheFactor) {
  const at::Tensor logits = suppressed({{0, 1}, {0.5F, 0.0F}}, SuppressionKind::Multiplicative);
  EXPECT_TRUE(at::equal(logits, rows({1, 0, -6, -8, 0.5F, 0, 5, -9}))) << logits;
}

TEST(SuppressedAttentionTest, ShiftsTowardsTheMinimumOfTheKeysThatARowSees) {
  // The minima are 2 (of 2, 4) and -3 (of 1, -3, 5), whatever lies in the rows' future.
  const at::Tensor logits = suppressed({{1, 2}, {0.5F, 0.25F}}, SuppressionKind::Shifted);
  EXPECT_TRUE(at::equal(logits, rows({2, 3, 0, -8, 1, -3, -1, -9}))) << logits;
}

TEST(SuppressedAttentionTest, ShiftsToTheMinimumWithFactorZero) {
  const at::Tensor logits = suppressed({{0, 1}, {0.0F, 0.0F}}, SuppressionKind::Shifted);
  EXPECT_TRUE(at::equal(logits, rows({2, 2, -6, -8, -3, -3, 5, -9}))) << logits;
}

TEST(SuppressedAttentionTest, ShiftsTowardsTheMinimumOfAllKeysIfAsked) {
  // The minima are -8 and -9, of keys that neither row sees.
  const at::Tensor logits = suppressed({{1, 2}, {0.5F, 0.0F}}, SuppressionKind::ShiftedFull);
  EXPECT_TRUE(at::equal(logits, rows({2, -2, -8, -8, 1, -6, -9, -9}))) << logits;
}

TEST(SuppressedAttentionTest, PassesOverKeysBeyondTheBlock) {
  for (const auto kind :
       {SuppressionKind::LogAdditive,
        SuppressionKind::Multiplicative,
        SuppressionKind::Shifted,
        SuppressionKind::ShiftedFull}) {
    EXPECT_TRUE(at::equal(suppressed({{4, 100}, {0.0F, 0.5F}}, kind), example_logits()));
    EXPECT_TRUE(
        at::equal(suppressed({{1, 4}, {0.5F, 0.5F}}, kind), suppressed({{1}, {0.5F}}, kind)));
  }
}

TEST(SuppressedAttentionTest, SuppressesEveryHeadAndBatchAlike) {
  at::Tensor logits = example_logits().repeat({3, 2, 1, 1});
  suppress_logits(logits, {{1}, {0.5F}}, SuppressionKind::Shifted, {.first_row = 1});
  const at::Tensor one = suppressed({{1}, {0.5F}}, SuppressionKind::Shifted);
  EXPECT_TRUE(at::equal(logits, one.repeat({3, 2, 1, 1})));
}

TEST(SuppressedAttentionTest, AveragesTheVisibleKeysOfEqualLogits) {
  // The base's rows, then those of the perturbation, in which key 0 counts a third of the others.
  const at::Tensor output = uniform_attention({{0}, {1 / 3.0F}}, SuppressionKind::LogAdditive);
  EXPECT_TRUE(at::allclose(
      output,
      at::tensor({3.0F, 4.5F, 7.0F, 3.0F, (1 + 6.0F) / (4 / 3.0F), (1 + 18.0F) / (7 / 3.0F)})))
      << output;
}

TEST(SuppressedAttentionTest, GivesZeroWhereARowSeesHiddenKeysAlone) {
  const at::Tensor first = uniform_attention({{0}, {0.0F}}, SuppressionKind::LogAdditive);
  EXPECT_TRUE(at::allclose(first, at::tensor({3.0F, 4.5F, 7.0F, 0.0F, 6.0F, 9.0F}))) << first;
  const at::Tensor all =
      uniform_attention({{0, 1, 2}, {0.0F, 0.0F, 0.0F}}, SuppressionKind::LogAdditive);
  EXPECT_TRUE(at::allclose(all, at::tensor({3.0F, 4.5F, 7.0F, 0.0F, 0.0F, 0.0F}))) << all;
}

TEST(SuppressedAttentionTest, ComputesOnlyTheRowsFromTheFirstSuppressedKeyOn) {
  const at::Tensor output = uniform_attention({{1}, {0.0F}}, SuppressionKind::LogAdditive);
  EXPECT_TRUE(at::allclose(output, at::tensor({3.0F, 4.5F, 7.0F, 3.0F, 7.5F}))) << output;
}

TEST(SuppressedAttentionTest, ShiftsTowardsTheMinimumInsideTheWindow) {
  // Rows 5 and 6, keys 3 to 6, two of them seen by each: the minima are -6 (of 4, -6) and -9 (of 5,
  // -9). Key 2 is before the block.
  at::Tensor logits = example_logits();
  suppress_logits(
      logits,
      {{2, 4, 5}, {0.1F, 0.5F, 0.5F}},
      SuppressionKind::Shifted,
      {.first_row = 5, .first_key = 3, .window = 2});
  EXPECT_TRUE(at::equal(logits, rows({2, -1, -6, -8, 1, -6, -2, -9}))) << logits;
}

TEST(SuppressedAttentionTest, ASinkTakesPartInTheSoftmaxButNotInTheMinimum) {
  BatchPiece piece;
  piece.tokens = {5};
  piece.target_ids = {1};
  piece.prompt_length = 1;
  piece.perturbations.resize(1);
  const SweepLayout layout = lay_out_sweep({0, {piece}}, {{{{0}, {0.5F}}}});
  const at::Tensor two = at::full({2, 1, 1}, 2.0F);
  const AttentionOptions options{
      .heads = {{0, 1, 0, 1}},
      .scale = 0.5,
      .sinks = at::full({1}, -2.0F),
      .suppression = SuppressionKind::Shifted};
  // The only key's logit, 2, is the minimum that it is shifted to; with the sink's it were 0.
  const at::Tensor output = suppressed_attention(two, two, two, layout, RowSet::All, options);
  const double share = std::exp(2.0) / (std::exp(2.0) + std::exp(-2.0));
  EXPECT_TRUE(at::allclose(output, two * share)) << output;
}

TEST_F(DenseAttentionTest, IsEqualedWithAWindowOfAnyWidth) {
  for (const SuppressionKind kind : kKinds) {
    // None; less than a block of 64 rows, a block, more; more than the sample.
    for (const std::int64_t window : {0, 1, 5, 64, 100, 151}) {
      EXPECT_LT(error(options(kind, window)), kRounding)
          << "kind " << static_cast<int>(kind) << ", window " << window;
    }
  }
}

TEST_F(DenseAttentionTest, IsEqualedWithSoftCapping) {
  for (const SuppressionKind kind : kKinds) {
    for (const std::int64_t window : {0, 5}) {
      AttentionOptions capped = options(kind, window);
      capped.softcap = 1.5;
      EXPECT_LT(error(capped), kRounding) << "kind " << static_cast<int>(kind);
    }
  }
}

TEST_F(DenseAttentionTest, IsEqualedWithABiasOfTheKeys) {
  for (const SuppressionKind kind : kKinds) {
    for (const std::int64_t window : {0, 5}) {
      AttentionOptions biased = options(kind, window);
      biased.key_bias = random_tensor({4, kLength}, 4).to(at::kFloat);
      EXPECT_LT(error(biased), kRounding) << "kind " << static_cast<int>(kind);
    }
  }
}

TEST_F(DenseAttentionTest, IsEqualedWithSinks) {
  for (const SuppressionKind kind : kKinds) {
    for (const std::int64_t window : {0, 5}) {
      AttentionOptions sunk = options(kind, window);
      sunk.sinks = random_tensor({4}, 5).to(at::kFloat);
      EXPECT_LT(error(sunk), kRounding) << "kind " << static_cast<int>(kind);
    }
  }
}

TEST_F(DenseAttentionTest, IsEqualedWithAllOfThemAtOnce) {
  for (const SuppressionKind kind : kKinds) {
    AttentionOptions all = options(kind, 70);
    all.softcap = 1.5;
    all.key_bias = random_tensor({4, kLength}, 4).to(at::kFloat);
    all.sinks = random_tensor({4}, 5).to(at::kFloat);
    EXPECT_LT(error(all), kRounding) << "kind " << static_cast<int>(kind);
  }
}

TEST_F(DenseAttentionTest, IsEqualedByTheRowsOfTargetsAlone) {
  for (const std::int64_t window : {0, 5, 100}) {
    const AttentionOptions shifted = options(SuppressionKind::Shifted, window);
    const at::Tensor expected = dense_attention(shifted).index_select(0, layout_.target_row);
    EXPECT_LT(largest_error(attention(shifted, RowSet::Targets), expected), kRounding);
  }
}

TEST_F(DenseAttentionTest, GivesZeroWhereAWindowHasHiddenKeysAlone) {
  // The second perturbation hides keys 40 to 46: with a window of five, all that rows 44 to 46 see.
  const at::Tensor output = attention(options(SuppressionKind::LogAdditive, 5));
  const Segment& segment = layout_.samples[0].perturbed[*layout_.samples[0].segment_of[1]];
  for (std::int64_t row = 40; row < 52; ++row) {
    const at::Tensor of_row = output[segment.packed_begin + row - segment.row_begin];
    EXPECT_EQ(of_row.eq(0).all().item<bool>(), row >= 44 && row <= 46) << row;
  }
}

}  // namespace limn::test
