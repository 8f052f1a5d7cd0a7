#include "worker/suppressed_attention.h"

#include <cmath>
#include <limits>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace limn::test {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

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

}  // namespace limn::test
