#include "coordinator/finished_batches.h"

#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace limn::test {

namespace {

using testing::IsEmpty;
using testing::UnorderedElementsAre;

PlannedBatch planned(std::int64_t id, std::vector<std::int32_t> tokens) {
  PlannedBatch planned;
  planned.batch.id = id;
  planned.batch.pieces = {{.sample_index = id, .tokens = std::move(tokens), .target_ids = {1}}};
  return planned;
}

}  // namespace

TEST(FinishedBatchesTest, ContentsAreThoseOfTheBatchAndItsSkippedSamples) {
  PlannedBatch batch = planned(3, {1, 2});
  EXPECT_EQ(contents_of(batch), contents_of(planned(3, {1, 2})));
  EXPECT_NE(contents_of(batch), contents_of(planned(4, {1, 2})));
  EXPECT_NE(contents_of(batch), contents_of(planned(3, {1, 3})));
  const std::int64_t before = contents_of(batch);
  batch.skipped.push_back(std::make_shared<Sample>());
  EXPECT_NE(contents_of(batch), before);
}

TEST(FinishedBatchesTest, HoldsABatchOfTheSameContentsAlone) {
  FinishedBatches finished({{0, contents_of(planned(0, {5}))}, {1, 77}, {2, 0}, {9, 99}});
  EXPECT_TRUE(finished.holds(planned(0, {5})));
  EXPECT_FALSE(finished.holds(planned(1, {5})));
  // Nobody knows its contents, as in parts of earlier releases.
  EXPECT_TRUE(finished.holds(planned(2, {5})));
  EXPECT_FALSE(finished.holds(planned(3, {5})));
  // 9 is in no plan any more.
  EXPECT_THAT(finished.superseded(), UnorderedElementsAre(1, 9));
}

TEST(FinishedBatchesTest, NothingIsSupersededInTheSamePlan) {
  FinishedBatches finished({{0, contents_of(planned(0, {5}))}});
  finished.holds(planned(0, {5}));
  finished.holds(planned(1, {6}));
  EXPECT_THAT(finished.superseded(), IsEmpty());
}

}  // namespace limn::test
