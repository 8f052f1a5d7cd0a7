#include "worker/bench_samples.h"

#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace limn::test {

namespace {

using testing::Each;
using testing::ElementsAre;
using testing::SizeIs;

std::vector<std::int64_t> ids(const std::vector<PlannedBatch>& batches) {
  std::vector<std::int64_t> ids;
  for (const PlannedBatch& planned : batches)
    ids.push_back(planned.batch.id);
  return ids;
}

std::vector<std::int32_t> perturbed_tokens(const std::vector<PlannedBatch>& batches) {
  std::vector<std::int32_t> tokens;
  for (const PlannedBatch& planned : batches) {
    for (const BatchPiece& piece : planned.batch.pieces) {
      for (const Perturbation& perturbation : piece.perturbations) {
        EXPECT_THAT(perturbation.positions, SizeIs(1));
        tokens.push_back(perturbation.positions.front());
      }
    }
  }
  return tokens;
}

std::vector<PlannedBatch> numbered_batches(std::int64_t count) {
  std::vector<PlannedBatch> batches(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i)
    batches[static_cast<std::size_t>(i)].batch.id = i;
  return batches;
}

}  // namespace

TEST(BenchSamplesTest, PerturbsEveryTokenOrSomeSpreadEvenly) {
  EXPECT_THAT(perturbed_tokens(plan_samples({.tokens = 4}, 50, {})), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(
      perturbed_tokens(plan_samples({.tokens = 10, .units = 3}, 50, {})), ElementsAre(0, 3, 6));
}

TEST(BenchSamplesTest, FeedsThePromptAndAllTargetsButTheLast) {
  const BenchSamples samples{.tokens = 6, .targets = 3, .count = 2};
  const std::vector<PlannedBatch> batches = plan_samples(samples, 50, {});
  ASSERT_THAT(batches, SizeIs(1));
  const std::vector<BatchPiece>& pieces = batches.front().batch.pieces;
  ASSERT_THAT(pieces, SizeIs(2));
  for (const BatchPiece& piece : pieces) {
    EXPECT_EQ(piece.fed_length(), samples.fed_length());
    EXPECT_EQ(piece.fed_length(), 8);
    EXPECT_EQ(piece.num_targets(), 3);
    EXPECT_THAT(piece.tokens, Each(testing::Lt(50)));
  }
}

TEST(BenchSamplesTest, CutsBatchesAsARunDoes) {
  const std::vector<PlannedBatch> batches = plan_samples({.tokens = 64}, 50, {.batch_tokens = 500});
  EXPECT_GT(batches.size(), 4U);
  EXPECT_THAT(perturbed_tokens(batches), SizeIs(64));
  for (const PlannedBatch& planned : batches)
    EXPECT_LE(planned.work.rows, 500);
}

TEST(BenchSamplesTest, SpreadsSomeBatchesOverThePlan) {
  EXPECT_THAT(ids(spread_batches(numbered_batches(9), 1)), ElementsAre(4));
  EXPECT_THAT(ids(spread_batches(numbered_batches(9), 3)), ElementsAre(1, 4, 7));
  EXPECT_THAT(ids(spread_batches(numbered_batches(3), 2)), ElementsAre(0, 2));
  EXPECT_THAT(ids(spread_batches(numbered_batches(3), 0)), ElementsAre(0, 1, 2));
  EXPECT_THAT(ids(spread_batches(numbered_batches(3), 7)), ElementsAre(0, 1, 2));
}

}  // namespace limn::test
