#include "coordinator/batch_plan.h"

#include <map>
#include <random>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace limn::test {

namespace {

using testing::ElementsAre;

// A sample of distinct token ids with these units, each a list of token positions.
Sample sample_of(
    std::int64_t index,
    std::int64_t prompt_length,
    std::int64_t num_targets,
    std::vector<std::vector<std::int32_t>> units) {
  Sample sample;
  sample.index = index;
  sample.prompt_length = prompt_length;
  for (std::int64_t position = 0; position < prompt_length + num_targets; ++position) {
    const auto id = static_cast<std::int32_t>(index * 1000 + position);
    sample.record.tokens.push_back({id, {}});
    if (position < prompt_length) continue;
    sample.record.targets.push_back({static_cast<std::int32_t>(position), id});
  }
  for (std::vector<std::int32_t>& tokens : units)
    sample.record.units.push_back({{}, {}, std::move(tokens)});
  return sample;
}

// One with up to 40 tokens and 12 units, some of which lie in the target.
Sample random_sample(std::mt19937_64& random, std::int64_t index) {
  const auto up_to = [&](std::int64_t n) {
    return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(n)) + 1;
  };
  const std::int64_t prompt_length = up_to(35);
  const std::int64_t num_targets = up_to(5);
  std::vector<std::vector<std::int32_t>> units(static_cast<std::size_t>(up_to(12)));
  for (std::vector<std::int32_t>& tokens : units) {
    std::set<std::int32_t> positions;
    for (std::int64_t count = up_to(4); count > 0; --count) {
      positions.insert(static_cast<std::int32_t>(up_to(prompt_length + num_targets) - 1));
    }
    tokens.assign(positions.begin(), positions.end());
  }
  return sample_of(index, prompt_length, num_targets, std::move(units));
}

std::vector<Sample> random_samples(std::uint64_t seed, std::int64_t count) {
  std::mt19937_64 random(seed);
  std::vector<Sample> samples;
  for (std::int64_t index = 0; index < count; ++index)
    samples.push_back(random_sample(random, index));
  return samples;
}

std::vector<PlannedBatch> plan(
    const std::vector<Sample>& samples, const Suppression& suppression, std::int64_t batch_tokens) {
  BatchPlanner planner(suppression, batch_tokens);
  for (const Sample& sample : samples)
    planner.add(sample);
  planner.finish();
  std::vector<PlannedBatch> batches;
  while (auto batch = planner.next())
    batches.push_back(*std::move(batch));
  return batches;
}

// The rows of the only batch of a sample of ten fed tokens with one unit.
std::int64_t rows_of_unit(std::vector<std::int32_t> unit, const Suppression& suppression) {
  const auto batches = plan({sample_of(0, 9, 2, {std::move(unit)})}, suppression, 1000);
  return batches.at(0).rows;
}

// From the first suppressed key on; nothing where that is no key of any row.
std::int64_t expected_rows(const UnitRecord& unit, std::int64_t fed_length) {
  return std::max<std::int64_t>(fed_length - unit.tokens.front(), 0);
}

std::int64_t expected_rows(const Sample& sample) {
  std::int64_t rows = sample.fed_length();
  for (const UnitRecord& unit : sample.record.units)
    rows += expected_rows(unit, sample.fed_length());
  return rows;
}

std::int64_t num_perturbations(const Batch& batch) {
  std::int64_t count = 0;
  for (const BatchPiece& piece : batch.pieces)
    count += std::ssize(piece.perturbations);
  return count;
}

}  // namespace

TEST(BatchPlanTest, MakesOnePerturbationOfEachUnit) {
  const Sample sample = sample_of(0, 5, 1, {{3}, {0, 1}, {3}});
  EXPECT_THAT(
      single_unit_perturbations(sample.record),
      ElementsAre(Perturbation{{3}}, Perturbation{{0, 1}}, Perturbation{{3}}));
}

TEST(BatchPlanTest, GivesAPieceAllThatAWorkerNeeds) {
  const auto batches = plan({sample_of(2, 3, 2, {{1}, {0, 2}})}, {}, 1000);
  ASSERT_EQ(batches.size(), 1U);
  const BatchPiece expected{
      .sample_index = 2,
      .tokens = {2000, 2001, 2002, 2003},
      .target_ids = {2003, 2004},
      .prompt_length = 3,
      .perturbation_begin = 0,
      .perturbations = {{{1}}, {{0, 2}}}};
  EXPECT_EQ(batches[0].batch, (Batch{0, {expected}}));
  EXPECT_EQ(batches[0].samples.at(0)->record.id, "");
  EXPECT_EQ(batches[0].samples.at(0)->index, 2);
  EXPECT_EQ(batches[0].rows, 4 + (4 - 1) + (4 - 0));
}

TEST(BatchPlanTest, CountsTheRowsFromTheFirstSuppressedKeyOn) {
  EXPECT_EQ(rows_of_unit({0, 7}, {}), 10 + 10);
  EXPECT_EQ(rows_of_unit({4, 5, 8}, {}), 10 + 6);
  EXPECT_EQ(rows_of_unit({9}, {}), 10 + 1);
  // The last target's key is seen by no row.
  EXPECT_EQ(rows_of_unit({10}, {}), 10);
}

TEST(BatchPlanTest, CountsNoRowsForFactorOne) {
  EXPECT_EQ(rows_of_unit({4}, {.factor = 1.0}), 10);
  EXPECT_EQ(rows_of_unit({4}, {.factor = 1.0, .similarity_threshold = 0.5}), 10);
  EXPECT_EQ(rows_of_unit({4}, {.factor = 2.0}), 10 + 6);
}

TEST(BatchPlanTest, CountsFromTheFirstKeyThatIsNotSpared) {
  EXPECT_EQ(rows_of_unit({0, 4}, {.spare_first_token = true}), 10 + 6);
  EXPECT_EQ(rows_of_unit({0}, {.spare_first_token = true}), 10);
  EXPECT_EQ(rows_of_unit({4}, {.spare_first_token = true}), 10 + 6);
}

TEST(BatchPlanTest, CountsAllRowsWhereSimilarKeysMayBeSuppressedToo) {
  EXPECT_EQ(rows_of_unit({8}, {.similarity_threshold = 0.5}), 10 + 10);
}

TEST(BatchPlanTest, PacksSamplesTogether) {
  // 3 fed tokens and 2 rows each: three samples fill the budget of 15 to the last row.
  std::vector<Sample> samples;
  for (std::int64_t index = 0; index < 4; ++index)
    samples.push_back(sample_of(index, 3, 1, {{1}}));
  const auto batches = plan(samples, {}, 15);
  ASSERT_EQ(batches.size(), 2U);
  EXPECT_EQ(batches[0].batch.pieces.size(), 3U);
  EXPECT_EQ(batches[0].rows, 15);
  EXPECT_EQ(batches[1].batch.pieces.size(), 1U);
}

TEST(BatchPlanTest, CutsNoSampleThatFitsIntoABatch) {
  // The second sample, 9 rows, does not fit behind the first one's 5; a part of it would.
  const auto batches =
      plan({sample_of(0, 3, 1, {{1}}), sample_of(1, 3, 1, {{1}, {1}, {1}})}, {}, 9);
  ASSERT_EQ(batches.size(), 2U);
  EXPECT_EQ(batches[1].batch.pieces.at(0).perturbations.size(), 3U);
}

TEST(BatchPlanTest, LetsASampleLargerThanTheBudgetSpanBatches) {
  // 4 fed tokens; each of five units costs 3 rows: 4 + 3 + 3 of a budget of 10.
  const auto batches = plan({sample_of(0, 4, 1, {{1}, {1}, {1}, {1}, {1}})}, {}, 10);
  ASSERT_EQ(batches.size(), 3U);
  std::vector<std::int64_t> begins;
  for (const PlannedBatch& planned : batches)
    begins.push_back(planned.batch.pieces.at(0).perturbation_begin);
  EXPECT_THAT(begins, ElementsAre(0, 2, 4));
  EXPECT_EQ(batches[1].rows, 10);
  EXPECT_EQ(batches[2].rows, 7);
  EXPECT_EQ(batches[0].samples.at(0), batches[2].samples.at(0));
}

TEST(BatchPlanTest, GivesAPerturbationThatFitsNowhereABatchOfItsOwn) {
  const auto batches = plan({sample_of(0, 100, 1, {{0}, {50}, {99}})}, {}, 16);
  ASSERT_EQ(batches.size(), 3U);
  EXPECT_EQ(batches[0].rows, 200);
  EXPECT_EQ(batches[1].rows, 150);
  EXPECT_EQ(batches[2].rows, 101);
}

TEST(BatchPlanTest, HasNoBatchWithoutASample) {
  EXPECT_TRUE(plan({}, {}, 100).empty());
}

TEST(BatchPlanTest, KeepsTheLastBatchOpenUntilTheEnd) {
  BatchPlanner planner({}, 1000);
  planner.add(sample_of(0, 3, 1, {{1}}));
  EXPECT_FALSE(planner.next());
  planner.finish();
  EXPECT_TRUE(planner.next());
  EXPECT_FALSE(planner.next());
}

TEST(BatchPlanTest, DoesNotDependOnWhenBatchesAreTaken) {
  const std::vector<Sample> samples = random_samples(3, 50);
  const auto late = plan(samples, {}, 64);
  BatchPlanner planner({}, 64);
  std::size_t taken = 0;
  const auto take = [&] {
    while (const auto batch = planner.next())
      EXPECT_EQ(batch->batch, late.at(taken++).batch);
  };
  for (const Sample& sample : samples) {
    planner.add(sample);
    take();
  }
  planner.finish();
  take();
  EXPECT_EQ(taken, late.size());
}

// The rules of the plan over random samples, whatever the budget.
class BatchBudgetTest : public testing::TestWithParam<std::int64_t> {
 protected:
  const std::int64_t budget_ = GetParam();
  const std::vector<Sample> samples_ = random_samples(17, 200);
  const std::vector<PlannedBatch> batches_ = plan(samples_, {}, budget_);
};

TEST_P(BatchBudgetTest, NumbersBatchesFromZero) {
  for (std::size_t i = 0; i < batches_.size(); ++i)
    EXPECT_EQ(batches_[i].batch.id, static_cast<std::int64_t>(i));
}

TEST_P(BatchBudgetTest, IsExceededBySinglePerturbationsAlone) {
  for (const PlannedBatch& planned : batches_) {
    EXPECT_TRUE(planned.rows <= budget_ || num_perturbations(planned.batch) == 1)
        << planned.rows << " rows in batch " << planned.batch.id;
  }
}

TEST_P(BatchBudgetTest, CoversEveryPerturbationOnceInOrder) {
  std::vector<Perturbation> planned;
  std::map<std::int64_t, std::int64_t> next_of_sample;
  for (const PlannedBatch& batch : batches_) {
    for (const BatchPiece& piece : batch.batch.pieces) {
      std::int64_t& next = next_of_sample[piece.sample_index];
      EXPECT_EQ(piece.perturbation_begin, next);
      next += std::ssize(piece.perturbations);
      planned.insert(planned.end(), piece.perturbations.begin(), piece.perturbations.end());
    }
  }
  std::vector<Perturbation> expected;
  for (const Sample& sample : samples_) {
    const auto of_sample = single_unit_perturbations(sample.record);
    expected.insert(expected.end(), of_sample.begin(), of_sample.end());
  }
  EXPECT_EQ(planned, expected);
}

TEST_P(BatchBudgetTest, CountsBaseRowsAndPerturbedRows) {
  for (const PlannedBatch& planned : batches_) {
    ASSERT_EQ(planned.samples.size(), planned.batch.pieces.size());
    std::int64_t rows = 0;
    for (std::size_t i = 0; i < planned.samples.size(); ++i) {
      const BatchPiece& piece = planned.batch.pieces[i];
      const Sample& sample = *planned.samples[i];
      EXPECT_EQ(sample.index, piece.sample_index);
      EXPECT_EQ(sample.fed_length(), piece.fed_length());
      rows += piece.fed_length();
      for (std::size_t k = 0; k < piece.perturbations.size(); ++k) {
        const auto unit = static_cast<std::size_t>(piece.perturbation_begin) + k;
        rows += expected_rows(sample.record.units.at(unit), piece.fed_length());
      }
    }
    EXPECT_EQ(planned.rows, rows);
  }
}

TEST_P(BatchBudgetTest, HoldsEverySampleThatFitsWhole) {
  std::map<std::int64_t, int> pieces_of_sample;
  for (const PlannedBatch& planned : batches_) {
    for (const BatchPiece& piece : planned.batch.pieces)
      ++pieces_of_sample[piece.sample_index];
  }
  for (const Sample& sample : samples_) {
    const int pieces = pieces_of_sample[sample.index];
    EXPECT_GE(pieces, 1);
    if (expected_rows(sample) <= budget_) {
      EXPECT_EQ(pieces, 1) << "sample " << sample.index;
    }
  }
}

TEST_P(BatchBudgetTest, IsFilledAsFarAsSamplesAllow) {
  for (std::size_t i = 1; i < batches_.size(); ++i) {
    const BatchPiece& first = batches_[i].batch.pieces.front();
    const Sample& sample = *batches_[i].samples.front();
    const auto unit = static_cast<std::size_t>(first.perturbation_begin);
    const bool goes_on = unit > 0;
    const std::int64_t next_perturbation =
        expected_rows(sample.record.units[unit], sample.fed_length());
    const std::int64_t wanted = goes_on ? next_perturbation
                                : expected_rows(sample) <= budget_
                                    ? expected_rows(sample)
                                    : sample.fed_length() + next_perturbation;
    EXPECT_GT(batches_[i - 1].rows + wanted, budget_) << "before batch " << i;
  }
}

TEST_P(BatchBudgetTest, GivesTheSamePlanEveryTime) {
  const auto again = plan(samples_, {}, budget_);
  ASSERT_EQ(again.size(), batches_.size());
  for (std::size_t i = 0; i < again.size(); ++i)
    EXPECT_EQ(again[i].batch, batches_[i].batch);
}

INSTANTIATE_TEST_SUITE_P(Budgets, BatchBudgetTest, testing::Values(16, 64, 1000, 100000));

}  // namespace limn::test
