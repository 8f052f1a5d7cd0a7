#include "worker/alibi.h"

#include <cmath>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace limn::test {

namespace {

using testing::ElementsAreArray;
using testing::FloatEq;

// The slopes of some heads of all: what the bias grows by from key to key.
std::vector<float> slopes(std::int64_t num_heads, const Slice& heads) {
  const at::Tensor bias = alibi_bias(AlibiKind::Bloom, num_heads, heads, 2, 1);
  const at::Tensor slope = (bias.select(1, 1) - bias.select(1, 0)).contiguous();
  return {slope.const_data_ptr<float>(), slope.const_data_ptr<float>() + slope.numel()};
}

// 2^exponent each, to within rounding.
auto powers_of_two(const std::vector<double>& exponents) {
  std::vector<testing::Matcher<float>> matchers;
  for (const double exponent : exponents)
    matchers.push_back(FloatEq(static_cast<float>(std::exp2(exponent))));
  return ElementsAreArray(matchers);
}

float falcon_bias(std::int64_t num_heads, std::int64_t head, std::int64_t key, double scale) {
  const at::Tensor bias =
      alibi_bias(AlibiKind::Falcon, num_heads, {head, head + 1}, key + 1, scale);
  return bias[0][key].item<float>();
}

}  // namespace

TEST(AlibiTest, HalvesTheSlopeFromHeadToHeadOfEight) {
  EXPECT_THAT(slopes(8, {0, 8}), powers_of_two({-1, -2, -3, -4, -5, -6, -7, -8}));
}

TEST(AlibiTest, TakesEveryOtherSlopeOfTwiceAsManyHeadsForTheRest) {
  // Those of eight heads, then the first, third, fifth and seventh of sixteen.
  EXPECT_THAT(
      slopes(12, {0, 12}), powers_of_two({-1, -2, -3, -4, -5, -6, -7, -8, -0.5, -1.5, -2.5, -3.5}));
}

TEST(AlibiTest, GivesARanksHeadsTheSlopesThatTheyHaveAmongAll) {
  EXPECT_THAT(slopes(12, {6, 10}), powers_of_two({-7, -8, -0.5, -1.5}));
}

TEST(AlibiTest, GrowsWithTheKeysPosition) {
  const at::Tensor bias = alibi_bias(AlibiKind::Bloom, 4, {1, 3}, 5, 0.1);
  ASSERT_EQ(bias.scalar_type(), at::kFloat);
  // Slopes of 1/16 and 1/64; the scale of the logits is none of theirs.
  EXPECT_TRUE(at::equal(bias[0], at::arange(5, at::kFloat) / 16));
  EXPECT_TRUE(at::equal(bias[1], at::arange(5, at::kFloat) / 64));
}

TEST(AlibiTest, RoundsFalconsBiasAndScalesIt) {
  // Head 8 of 12 has the slope 2^-0.5, in bfloat16 0.70703125. Three of that are 2.12109375, in
  // bfloat16 2.125.
  EXPECT_EQ(falcon_bias(12, 8, 1, 1), 0.70703125F);
  EXPECT_EQ(falcon_bias(12, 8, 3, 1), 2.125F);
  EXPECT_EQ(falcon_bias(12, 8, 3, 0.25), 0.53125F);
}

TEST(AlibiTest, RoundsFalconsPositionsToo) {
  // 257 is 256 in bfloat16, and 256 slopes are 181; 257 of them would have been 182.
  EXPECT_EQ(falcon_bias(12, 8, 257, 1), 181);
  EXPECT_EQ(falcon_bias(12, 8, 259, 1), 184);
}

}  // namespace limn::test
