#include "worker/norm.h"

#include <utility>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "sharding/process_mesh.h"
#include "tests/random_tensor.h"

namespace limn::test {

namespace {

constexpr double kRounding = 2e-6;

// x [..., width] float64
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  return x / (x * x).mean(-1, /*keepdim=*/true).add(epsilon).sqrt() * weight;
}

at::Tensor single(const at::Tensor& exact) {
  return exact.to(at::kFloat);
}

class NormTest : public testing::Test {
 protected:
  // The error of a rank's heads, normed together with those of all ranks.
  double all_heads_error(std::int64_t heads, const Slice& held, const Slice& counted) {
    const std::int64_t head_dim = 6;
    const at::Tensor x = random_tensor({5, heads, head_dim}, 1) * 3;
    const at::Tensor weight = random_tensor({heads, head_dim}, 2);
    const AllHeadsNorm norm{
        .epsilon = 0.01,
        .weight = rows(weight, held),
        .counted = {counted.begin - held.begin, counted.end - held.begin},
        .total_width = heads * head_dim,
        .tensor_ranks = ranks.get()};
    const at::Tensor expected = rms_norm(x.flatten(1), weight.flatten(), 0.01).view_as(x);
    return largest_error(norm(columns(x, held)), expected.narrow(1, held.begin, held.size()));
  }

  HeadShard shard(std::int64_t heads, std::int64_t kv_heads) const {
    return shard_heads(heads, kv_heads, ranks->size(), ranks->rank());
  }

  std::unique_ptr<Communicator> ranks = world_communicator();
};

}  // namespace

TEST_F(NormTest, RmsDividesByTheRootMeanSquare) {
  // An epsilon that counts, and a mean that must not be subtracted.
  const at::Tensor x = random_tensor({7, 12}, 1) + 2;
  const at::Tensor weight = random_tensor({12}, 2);
  const Norm norm{.epsilon = 0.5, .weight = single(weight)};
  EXPECT_LT(largest_error(norm(single(x)), rms_norm(x, weight, 0.5)), kRounding);
}

TEST_F(NormTest, LayerEqualsLayerNorm) {
  const at::Tensor x = random_tensor({7, 12}, 1) + 2;
  const at::Tensor weight = random_tensor({12}, 2);
  const at::Tensor bias = random_tensor({12}, 3);
  const Norm norm{
      .subtracts_mean = true, .epsilon = 0.5, .weight = single(weight), .bias = single(bias)};
  EXPECT_LT(largest_error(norm(single(x)), at::layer_norm(x, {12}, weight, bias, 0.5)), kRounding);
}

TEST_F(NormTest, WithoutWeightAndBiasTheyAreOneAndZero) {
  const at::Tensor x = random_tensor({7, 12}, 1) + 2;
  const Norm layer{.subtracts_mean = true, .epsilon = 1e-5};
  EXPECT_LT(largest_error(layer(single(x)), at::layer_norm(x, {12})), kRounding);
  const Norm rms{.epsilon = 1e-5};
  EXPECT_LT(
      largest_error(rms(single(x)), rms_norm(x, at::ones({12}, at::kDouble), 1e-5)), kRounding);
}

TEST_F(NormTest, GivesEachHeadItsOwnWeight) {
  const at::Tensor x = random_tensor({7, 3, 8}, 1);
  const at::Tensor weight = random_tensor({3, 8}, 2);
  const at::Tensor got = Norm{.epsilon = 1e-5, .weight = single(weight)}(single(x));
  for (std::int64_t head = 0; head < 3; ++head) {
    const at::Tensor expected = rms_norm(x.select(1, head), weight[head], 1e-5);
    EXPECT_LT(largest_error(got.select(1, head), expected), kRounding) << head;
  }
}

TEST_F(NormTest, LeavesItsInputAsItWas) {
  const at::Tensor x = single(random_tensor({7, 12}, 1));
  const at::Tensor before = x.clone();
  Norm{.epsilon = 1e-5, .weight = at::full({12}, 2.0F)}(x);
  Norm{.subtracts_mean = true, .epsilon = 1e-5, .bias = at::full({12}, 2.0F)}(x);
  EXPECT_TRUE(at::equal(x, before));
}

TEST_F(NormTest, NormsTheHeadsOfAllRanksTogether) {
  for (const std::int64_t heads : {3, 5, 8}) {
    const Slice held = shard(heads, heads).query_heads;
    EXPECT_LT(all_heads_error(heads, held, held), kRounding) << heads;
  }
}

TEST_F(NormTest, CountsAKeyValueHeadOnceHoweverManyRanksHoldIt) {
  // With three ranks these are held by 2, 2; by 3; and by 1, 2, 1 of them.
  for (const auto& [heads, kv_heads] : {std::pair{6, 2}, {4, 1}, {9, 3}, {10, 2}}) {
    const HeadShard held = shard(heads, kv_heads);
    EXPECT_LT(all_heads_error(kv_heads, held.kv_heads, held.first_held_kv_heads), kRounding)
        << heads << " heads, " << kv_heads << " key/value heads";
  }
}

}  // namespace limn::test
