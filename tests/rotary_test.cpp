#include "worker/rotary.h"

#include <cmath>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace limn::test {

namespace {

using testing::ElementsAreArray;

// All matchers for doubles: equal but for rounding in the last places.
auto are(const std::vector<double>& expected) {
  std::vector<testing::Matcher<double>> matchers;
  for (const double value : expected)
    matchers.push_back(testing::DoubleNear(value, 1e-14 * value));
  return ElementsAreArray(matchers);
}

// In sequences that end with the rows' own positions.
at::Tensor rotated(
    const RotaryEmbedding& rotary, const at::Tensor& x, const at::Tensor& positions) {
  at::Tensor y = x.to(at::kFloat).clone();
  rotary.rotate(y, positions, positions + 1);
  return y;
}

}  // namespace

// The numbers below were computed in Python by the formulas of the papers, independently of limn:
// theta^(-2i/d), and each scaling of it.

TEST(RotaryTest, TurnsEachPairAtItsFrequency) {
  EXPECT_THAT(
      rotary_frequencies({.theta = 10000, .rotated = 12}, 1),
      are(
          {1.0,
           0.2154434690031884,
           0.046415888336127795,
           0.01,
           0.0021544346900318843,
           0.00046415888336127773}));
}

TEST(RotaryTest, DividesEveryFrequencyWhenScaledLinearly) {
  EXPECT_THAT(
      rotary_frequencies(
          {.theta = 10000, .rotated = 12, .scaling = RopeScaling::Linear, .factor = 4}, 1),
      are(
          {0.25,
           0.0538608672507971,
           0.011603972084031949,
           0.0025,
           0.0005386086725079711,
           0.00011603972084031943}));
}

TEST(RotaryTest, StretchesLongWavelengthsAsLlama3Does) {
  // Llama 3.1's own options, with a head of 16: the first four are kept, the last three stretched.
  const RopeConfig rope{
      .theta = 500000,
      .rotated = 16,
      .scaling = RopeScaling::Llama3,
      .factor = 8,
      .original_max_positions = 8192,
      .low_freq_factor = 1,
      .high_freq_factor = 4};
  EXPECT_THAT(
      rotary_frequencies(rope, 1),
      are(
          {1.0,
           0.19392274474868576,
           0.03760603093086393,
           0.007292664737217109,
           0.0005248461609929546,
           3.428102195952591e-05,
           6.647869871181235e-06,
           1.2891731721515574e-06}));
}

TEST(RotaryTest, BlendsFrequenciesAsYarnDoes) {
  const RopeConfig rope{
      .theta = 1000000,
      .rotated = 16,
      .scaling = RopeScaling::Yarn,
      .factor = 4,
      .original_max_positions = 32768};
  EXPECT_THAT(
      rotary_frequencies(rope, 1),
      are(
          {1.0,
           0.1778279410038923,
           0.03162277660168379,
           0.004217559938927619,
           0.0005,
           4.445698525097307e-05,
           7.905694150420949e-06,
           1.4058533129758728e-06}));
}

TEST(RotaryTest, RoundsTheEndsOfYarnsRampIfAsked) {
  RopeConfig rope{
      .rotated = 12, .scaling = RopeScaling::Yarn, .factor = 4, .original_max_positions = 64};
  // The lower end, below 0, is 0; the upper end is 1.51, or 2.
  EXPECT_THAT(
      rotary_frequencies(rope, 1),
      are(
          {1.0,
           0.13465216812699274,
           0.011603972084031949,
           0.0025,
           0.0005386086725079711,
           0.00011603972084031943}));
  rope.truncate = false;
  EXPECT_THAT(
      rotary_frequencies(rope, 1),
      are(
          {1.0,
           0.1085766801007012,
           0.011603972084031949,
           0.0025,
           0.0005386086725079711,
           0.00011603972084031943}));
}

TEST(RotaryTest, HasARampEvenWhereYarnsEndsMeet) {
  const RopeConfig rope{
      .rotated = 8, .scaling = RopeScaling::Yarn, .factor = 4, .original_max_positions = 4};
  EXPECT_THAT(rotary_frequencies(rope, 1), are({1.0, 0.025, 0.0025, 0.00025}));
}

TEST(RotaryTest, LeavesPositionZeroAsItIs) {
  const RotaryEmbedding rotary({.rotated = 6}, 3);
  const at::Tensor x = at::rand({2, 4, 6}, at::kFloat);
  EXPECT_TRUE(at::equal(rotated(rotary, x, at::zeros({2}, at::kLong)), x));
}

TEST(RotaryTest, RotatesDimensionIWithItsPartnerHalfAHeadOn) {
  // theta = 100 and a head of four: pairs (0, 2) and (1, 3) turn by 1 and by 1/10 a position.
  const RotaryEmbedding rotary({.theta = 100, .rotated = 4}, 8);
  const at::Tensor x = at::tensor({1.0F, 2.0F, 3.0F, 4.0F}).view({1, 1, 4});
  const at::Tensor y = rotated(rotary, x, at::tensor({2}, at::kLong));
  const std::vector<float> expected{
      static_cast<float>(1 * std::cos(2.0) - 3 * std::sin(2.0)),
      static_cast<float>(2 * std::cos(0.2) - 4 * std::sin(0.2)),
      static_cast<float>(3 * std::cos(2.0) + 1 * std::sin(2.0)),
      static_cast<float>(4 * std::cos(0.2) + 2 * std::sin(0.2))};
  EXPECT_TRUE(at::allclose(y.flatten(), at::tensor(at::ArrayRef<float>(expected)), 1e-6, 1e-6))
      << y;
}

TEST(RotaryTest, GivesEveryRowItsOwnPosition) {
  const RotaryEmbedding rotary({.rotated = 8}, 10);
  const at::Tensor x = at::rand({3, 2, 8}, at::kFloat);
  const at::Tensor together = rotated(rotary, x, at::tensor({7, 0, 3}, at::kLong));
  for (const auto& [row, position] : {std::pair{0, 7}, {1, 0}, {2, 3}}) {
    const at::Tensor alone =
        rotated(rotary, x.narrow(0, row, 1), at::full({1}, position, at::kLong));
    EXPECT_TRUE(at::equal(together.narrow(0, row, 1), alone)) << row;
  }
}

TEST(RotaryTest, ScalesByTheAttentionFactor) {
  const RotaryEmbedding plain({.rotated = 4}, 5);
  const RotaryEmbedding scaled({.rotated = 4, .attention_factor = 1.5}, 5);
  const at::Tensor x = at::rand({1, 1, 4}, at::kFloat);
  const at::Tensor position = at::tensor({4}, at::kLong);
  EXPECT_TRUE(at::allclose(rotated(scaled, x, position), rotated(plain, x, position) * 1.5));
}

TEST(RotaryTest, KeepsItsPrecisionAtLargePositions) {
  const RotaryEmbedding rotary({.rotated = 2}, 100001);
  const at::Tensor x = at::tensor({1.0F, 0.0F}).view({1, 1, 2});
  const at::Tensor y = rotated(rotary, x, at::tensor({100000}, at::kLong));
  EXPECT_NEAR(y.flatten()[0].item<float>(), std::cos(100000.0), 1e-6);
  EXPECT_NEAR(y.flatten()[1].item<float>(), std::sin(100000.0), 1e-6);
}

TEST(RotaryTest, RotatesNeighboursIfAsked) {
  const RotaryEmbedding rotary(
      {.theta = 100, .rotated = 4, .pairing = RotaryPairing::Neighbours}, 8);
  const at::Tensor x = at::tensor({1.0F, 2.0F, 3.0F, 4.0F}).view({1, 1, 4});
  const at::Tensor y = rotated(rotary, x, at::tensor({2}, at::kLong));
  const std::vector<float> expected{
      static_cast<float>(1 * std::cos(2.0) - 2 * std::sin(2.0)),
      static_cast<float>(2 * std::cos(2.0) + 1 * std::sin(2.0)),
      static_cast<float>(3 * std::cos(0.2) - 4 * std::sin(0.2)),
      static_cast<float>(4 * std::cos(0.2) + 3 * std::sin(0.2))};
  EXPECT_TRUE(at::allclose(y.flatten(), at::tensor(at::ArrayRef<float>(expected)), 1e-6, 1e-6))
      << y;
}

TEST(RotaryTest, RotatesTheFirstDimensionsAlone) {
  const at::Tensor x = at::rand({3, 2, 10}, at::kFloat);
  const at::Tensor positions = at::tensor({4, 1, 7}, at::kLong);
  for (const auto pairing : {RotaryPairing::Halves, RotaryPairing::Neighbours}) {
    const RotaryEmbedding rotary({.rotated = 6, .pairing = pairing}, 8);
    const at::Tensor y = rotated(rotary, x, positions);
    EXPECT_TRUE(at::equal(y.narrow(2, 0, 6), rotated(rotary, x.narrow(2, 0, 6), positions)));
    EXPECT_TRUE(at::equal(y.narrow(2, 6, 4), x.narrow(2, 6, 4)));
  }
}

namespace {

// theta = 100 and four dimensions: the pairs turn by 1 and by 1/10 a position, divided by these.
RopeConfig example_longrope() {
  return {
      .theta = 100,
      .rotated = 4,
      .scaling = RopeScaling::LongRope,
      .original_max_positions = 5,
      .attention_factor = 1.25,
      .short_factors = {1, 2},
      .long_factors = {4, 5}};
}

}  // namespace

TEST(RotaryTest, ChoosesLongRopesFactorsByTheLengthOfTheSequence) {
  for (const int length : {1, 4, 5})
    EXPECT_THAT(rotary_frequencies(example_longrope(), length), are({1.0, 0.05})) << length;
  for (const int length : {6, 1000})
    EXPECT_THAT(rotary_frequencies(example_longrope(), length), are({0.25, 0.02})) << length;
}

TEST(RotaryTest, RotatesShortAndLongSequencesOfOneBatchByTheirOwnFactors) {
  // Positions 3 of a sequence of five and of one of six, and position 5 of the latter.
  const RotaryEmbedding rotary(example_longrope(), 6);
  const at::Tensor x = at::rand({1, 2, 4}, at::kFloat).repeat({3, 1, 1});
  at::Tensor y = x.clone();
  rotary.rotate(y, at::tensor({3, 3, 5}, at::kLong), at::tensor({5, 6, 6}, at::kLong));
  const auto expected = [&](double first, double second) {
    const at::Tensor angle = at::tensor({first, second}, at::kDouble);
    const at::Tensor a = x[0].narrow(1, 0, 2);
    const at::Tensor b = x[0].narrow(1, 2, 2);
    return at::cat({a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()}, 1) *
           1.25;
  };
  EXPECT_TRUE(at::allclose(y[0].to(at::kDouble), expected(3, 0.15), 1e-6, 1e-6));
  EXPECT_TRUE(at::allclose(y[1].to(at::kDouble), expected(0.75, 0.06), 1e-6, 1e-6));
  EXPECT_TRUE(at::allclose(y[2].to(at::kDouble), expected(1.25, 0.1), 1e-6, 1e-6));
}

}  // namespace limn::test
