#include "coordinator/batch_plan.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <random>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/virtual_run.h"

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
  return test::plan(samples, {.suppression = suppression, .batch_tokens = batch_tokens});
}

// The rows of the only batch of a sample of ten fed tokens with one unit.
std::int64_t rows_of_unit(std::vector<std::int32_t> unit, const Suppression& suppression) {
  const auto batches = plan({sample_of(0, 9, 2, {std::move(unit)})}, suppression, 1000);
  return batches.at(0).work.rows;
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

// The sample with targets of so many tokens in the place of its own, and those of its units that
// lie in the prompt.
std::vector<Sample> alternatives_of(
    const Sample& sample, const std::vector<std::int64_t>& num_targets) {
  std::vector<Sample> alternatives;
  for (const std::int64_t count : num_targets) {
    std::vector<std::vector<std::int32_t>> units;
    for (const UnitRecord& unit : sample.record.units) {
      if (unit.tokens.back() < sample.prompt_length) units.push_back(unit.tokens);
    }
    if (units.empty()) units.push_back({0});
    Sample one = sample_of(sample.index, sample.prompt_length, count, std::move(units));
    one.index = sample.index + std::ssize(alternatives);
    alternatives.push_back(std::move(one));
  }
  return alternatives;
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
  EXPECT_EQ(batches[0].work.rows, 4 + (4 - 1) + (4 - 0));
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
  EXPECT_EQ(batches[0].work.rows, 15);
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
  EXPECT_EQ(batches[1].work.rows, 10);
  EXPECT_EQ(batches[2].work.rows, 7);
  EXPECT_EQ(batches[0].samples.at(0), batches[2].samples.at(0));
}

TEST(BatchPlanTest, GivesAPerturbationThatFitsNowhereABatchOfItsOwn) {
  const auto batches = plan({sample_of(0, 100, 1, {{0}, {50}, {99}})}, {}, 16);
  ASSERT_EQ(batches.size(), 3U);
  EXPECT_EQ(batches[0].work.rows, 200);
  EXPECT_EQ(batches[1].work.rows, 150);
  EXPECT_EQ(batches[2].work.rows, 101);
}

TEST(BatchPlanTest, HasNoBatchWithoutASample) {
  EXPECT_TRUE(plan({}, {}, 100).empty());
}

// With every third one skipped, if `with_skipped`; left out otherwise.
std::vector<Sample> every_third_skipped(const std::vector<Sample>& samples, bool with_skipped) {
  std::vector<Sample> result;
  for (const Sample& sample : samples) {
    if (sample.index % 3 != 0) {
      result.push_back(sample);
    } else if (with_skipped) {
      Sample& skipped = result.emplace_back();
      skipped.index = sample.index;
      skipped.record.status = SampleStatus::Skipped;
    }
  }
  return result;
}

TEST(BatchPlanTest, SkippedSamplesGoWithBatchesThatTheyDoNotAlter) {
  const std::vector<Sample> samples = random_samples(5, 300);
  const auto without = plan(every_third_skipped(samples, false), {}, 200);
  const auto with = plan(every_third_skipped(samples, true), {}, 200);
  ASSERT_EQ(with.size(), without.size());
  std::int64_t next_skipped = 0;
  for (std::size_t i = 0; i < with.size(); ++i) {
    EXPECT_EQ(with[i].batch, without[i].batch);
    EXPECT_EQ(with[i].work.rows, without[i].work.rows);
    for (const auto& skipped : with[i].skipped) {
      EXPECT_EQ(skipped->index, next_skipped);
      next_skipped += 3;
      // It stands between the samples of its batch and its neighbours.
      EXPECT_LE(with[i].samples.front()->index, skipped->index + 1);
      EXPECT_GE(with[i].samples.back()->index, skipped->index - 1);
    }
  }
  EXPECT_EQ(next_skipped, 300);
}

TEST(BatchPlanTest, ManySkippedSamplesAreManyBatches) {
  BatchPlanner planner({.batch_tokens = 1000});
  Sample skipped;
  skipped.record.status = SampleStatus::Skipped;
  std::int64_t num_planned = 0;
  std::int64_t num_batches = 0;
  const auto take = [&] {
    while (const auto batch = planner.next()) {
      EXPECT_EQ(batch->batch.id, num_batches++);
      EXPECT_TRUE(batch->batch.pieces.empty());
      num_planned += std::ssize(batch->skipped);
    }
  };
  for (skipped.index = 0; skipped.index < 5000; ++skipped.index) {
    planner.add(skipped);
    take();
    EXPECT_LT(skipped.index - num_planned, 1024);
  }
  planner.finish();
  take();
  EXPECT_EQ(num_planned, 5000);
  EXPECT_EQ(num_batches, 5);
}

TEST(BatchPlanTest, KeepsTheLastBatchOpenUntilTheEnd) {
  BatchPlanner planner({.batch_tokens = 1000});
  planner.add(sample_of(0, 3, 1, {{1}}));
  EXPECT_FALSE(planner.next());
  planner.finish();
  EXPECT_TRUE(planner.next());
  EXPECT_FALSE(planner.next());
}

TEST(BatchPlanTest, DoesNotDependOnWhenBatchesAreTaken) {
  const std::vector<Sample> samples = random_samples(3, 500);
  for (const std::int64_t batch_tokens : {64, 600}) {
    const auto at_once = plan(samples, {}, batch_tokens);
    BatchPlanner planner({.batch_tokens = batch_tokens});
    for (const Sample& sample : samples)
      planner.add(sample);
    planner.finish();
    std::size_t taken = 0;
    while (const auto batch = planner.next())
      EXPECT_EQ(batch->batch, at_once.at(taken++).batch);
    EXPECT_EQ(taken, at_once.size());
  }
}

TEST(BatchPlanTest, CountsTheKeysThatRowsSee) {
  // Of the sequence 10 rows see 1 to 10 keys; of the perturbation 3 see 8, 9 and 10.
  const auto batches = plan({sample_of(0, 9, 2, {{7}})}, {}, 1000);
  EXPECT_EQ(batches.at(0).work, (SweepWork{10 + 3, 55 + 27}));
}

TEST(BatchPlanTest, KeepsTheSamplesOfAFixedNumberOfBatches) {
  // 5 rows each, so 3 make a batch.
  BatchPlanner planner({.batch_tokens = 15});
  std::int64_t taken = 0;
  for (std::int64_t index = 0; index < 3000; ++index) {
    planner.add(sample_of(index, 3, 1, {{1}}));
    while (planner.next())
      ++taken;
    EXPECT_LE(index + 1 - 3 * taken, 3 * 18);
  }
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
    EXPECT_TRUE(planned.work.rows <= budget_ || num_perturbations(planned.batch) == 1)
        << planned.work.rows << " rows in batch " << planned.batch.id;
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
    EXPECT_EQ(planned.work.rows, rows);
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

TEST_P(BatchBudgetTest, HoldsASampleOnlyOnce) {
  for (const PlannedBatch& planned : batches_) {
    std::set<std::int64_t> samples;
    for (const BatchPiece& piece : planned.batch.pieces)
      EXPECT_TRUE(samples.insert(piece.sample_index).second) << "batch " << planned.batch.id;
  }
}

// Up to 2048 rows the time bounds no batch.
TEST_P(BatchBudgetTest, IsFilledAsFarAsPiecesAllow) {
  for (std::size_t i = 1; i < batches_.size(); ++i) {
    const Batch next_piece{0, {batches_[i].batch.pieces.front()}};
    const std::int64_t together = batches_[i - 1].work.rows + work_of(next_piece).rows;
    EXPECT_GT(together, std::min<std::int64_t>(budget_, 2048)) << "before batch " << i;
  }
}

TEST_P(BatchBudgetTest, GivesTheSamePlanEveryTime) {
  const auto again = plan(samples_, {}, budget_);
  ASSERT_EQ(again.size(), batches_.size());
  for (std::size_t i = 0; i < again.size(); ++i)
    EXPECT_EQ(again[i].batch, batches_[i].batch);
}

INSTANTIATE_TEST_SUITE_P(Budgets, BatchBudgetTest, testing::Values(16, 64, 1000, 100000));

// The end of a dataset, whatever its units and the model.
struct EndCase {
  VirtualUnits units = VirtualUnits::Sentences;
  std::int64_t num_samples = 0;
  double per_key = 0;
};

void PrintTo(const EndCase& end, std::ostream* out) {
  *out << end.num_samples << " samples of units " << static_cast<int>(end.units) << ", "
       << end.per_key << " a key";
}

class BatchPlanEndTest : public testing::TestWithParam<EndCase> {
 protected:
  // Of what a batch may always cost: of 2048 rows, or a thousandth of the whole.
  double least_bound() const { return std::max(2048.0, cost(uncut_work(samples_)) / 1000); }

  double cost(const SweepWork& work) const { return options_.cost.of(work); }

  const PlanOptions options_{
      .batch_tokens = 16384, .cost = {.per_row = 1, .per_key = GetParam().per_key}};
  const std::vector<Sample> samples_ = virtual_samples(GetParam().num_samples, GetParam().units);
  const std::vector<PlannedBatch> batches_ = plan(samples_, options_);
};

TEST_P(BatchPlanEndTest, LosesNothing) {
  std::int64_t sample = 0;
  std::int64_t next = 0;
  for (const PlannedBatch& planned : batches_) {
    EXPECT_EQ(planned.work, work_of(planned.batch));
    for (const BatchPiece& piece : planned.batch.pieces) {
      ASSERT_EQ(piece.sample_index, sample);
      ASSERT_EQ(piece.perturbation_begin, next);
      next += std::ssize(piece.perturbations);
      if (next < std::ssize(samples_[static_cast<std::size_t>(sample)].record.units)) continue;
      ++sample;
      next = 0;
    }
  }
  EXPECT_EQ(sample, std::ssize(samples_));
  EXPECT_EQ(next, 0);
}

TEST_P(BatchPlanEndTest, BoundsWhatIsPackedTogetherByAShareOfTheRest) {
  SweepWork left = uncut_work(samples_);
  for (const PlannedBatch& planned : batches_) {
    const bool end_is_near = left.rows < 8 * options_.batch_tokens;
    if (end_is_near && planned.batch.pieces.size() > 1) {
      EXPECT_LE(cost(planned.work), std::max(cost(left) / 8, least_bound()) * (1 + 1e-9))
          << "batch " << planned.batch.id;
    }
    left -= planned.work;
    for (const BatchPiece& piece : planned.batch.pieces) {
      if (piece.perturbation_begin > 0) left += work_of_rows(0, piece.fed_length());
    }
  }
  EXPECT_EQ(left, SweepWork{});
}

TEST_P(BatchPlanEndTest, CutsNoSmallPieces) {
  // Where memory asks for no cut.
  PlanOptions options = options_;
  options.batch_tokens = std::int64_t{1} << 40;
  for (const PlannedBatch& planned : plan(samples_, options)) {
    for (const BatchPiece& piece : planned.batch.pieces) {
      const auto& units = samples_[static_cast<std::size_t>(piece.sample_index)].record.units;
      if (piece.perturbations.size() == units.size()) continue;
      const double base = cost(work_of_rows(0, piece.fed_length()));
      // Four bases, to the nearest perturbation, and its own.
      EXPECT_GE(cost(work_of({0, {piece}})), base + 3.5 * base)
          << "sample " << piece.sample_index << " in batch " << planned.batch.id;
    }
  }
}

// Of the last batches alone, as many as rows would make eight of.
TEST_P(BatchPlanEndTest, AddsAtMostHalfOfTheEndByCutting) {
  double planned = 0;
  for (const PlannedBatch& batch : batches_)
    planned += cost(batch.work);
  double far_from_the_end = 0;
  double most = 0;
  for (const PlannedBatch& batch : plan_far_from_the_end(samples_, options_)) {
    far_from_the_end += cost(batch.work);
    most = std::max(most, cost(batch.work));
  }
  EXPECT_LE(planned - far_from_the_end, std::min(16 * most, far_from_the_end) / 2);
}

INSTANTIATE_TEST_SUITE_P(
    Datasets,
    BatchPlanEndTest,
    testing::Values(
        EndCase{VirtualUnits::Sentences, 1000, 0},
        EndCase{VirtualUnits::Sentences, 1000, 1.0 / 3000},
        EndCase{VirtualUnits::Sentences, 1000, 0.1},
        EndCase{VirtualUnits::Tokens, 30, 1.0 / 3000},
        EndCase{VirtualUnits::Mixed, 100, 0.1},
        EndCase{VirtualUnits::Sentences, 3, 1.0 / 3000},
        EndCase{VirtualUnits::Tokens, 1, 1.0 / 3000}));

// Groups in virtual time, with a model whose attention weighs much and with 128 rows' time spent
// on every batch.
class BatchPlanIdleTest : public testing::Test {
 protected:
  static std::vector<double> seconds(const std::vector<PlannedBatch>& batches) {
    std::vector<double> seconds;
    for (const PlannedBatch& planned : batches)
      seconds.push_back(kOptions.cost.of(planned.work) + 128);
    return seconds;
  }

  static double idle(const std::vector<Sample>& samples, int num_groups) {
    return idle_share(seconds(plan(samples, kOptions)), num_groups);
  }

  static double idle_with_rows_alone(const std::vector<Sample>& samples, int num_groups) {
    return idle_share(seconds(plan_far_from_the_end(samples, kOptions)), num_groups);
  }

  inline static const PlanOptions kOptions{.cost = {.per_row = 1, .per_key = 1.0 / 3072}};
};

TEST_F(BatchPlanIdleTest, IsBelowTwoPercentForFourGroups) {
  for (const VirtualUnits units :
       {VirtualUnits::Sentences, VirtualUnits::Tokens, VirtualUnits::Mixed}) {
    EXPECT_LT(idle(virtual_samples(1000, units), 4), 0.002) << static_cast<int>(units);
    EXPECT_LT(idle(virtual_samples(100, units), 4), 0.02) << static_cast<int>(units);
  }
}

TEST_F(BatchPlanIdleTest, IsAFractionOfWhatBatchesOfEqualRowsLeave) {
  const std::vector<Sample> thousand = virtual_samples(1000, VirtualUnits::Sentences);
  EXPECT_LT(idle(thousand, 16), idle_with_rows_alone(thousand, 16) / 2);
  const std::vector<Sample> hundred = virtual_samples(100, VirtualUnits::Sentences);
  EXPECT_LT(idle(hundred, 4), idle_with_rows_alone(hundred, 4) / 2);
}

TEST_F(BatchPlanIdleTest, SharesFewSamplesAmongMoreGroups) {
  const std::vector<Sample> one = virtual_samples(1, VirtualUnits::Tokens);
  EXPECT_LT(idle(one, 16), 0.6);
  const std::vector<Sample> three = virtual_samples(3, VirtualUnits::Sentences);
  EXPECT_GE(plan(three, kOptions).size(), 5U);
}

TEST(BatchPlanTest, PlansAlternativesOfAPromptTogether) {
  std::mt19937_64 random(31);
  for (const std::int64_t batch_tokens : {60, 400, 100000}) {
    BatchPlanner planner({.batch_tokens = batch_tokens});
    std::vector<Sample> samples;
    for (int record = 0; record < 40; ++record) {
      const std::vector<Sample> alternatives =
          alternatives_of(random_sample(random, std::ssize(samples)), {1, 4, 2});
      samples.insert(samples.end(), alternatives.begin(), alternatives.end());
      planner.add_alternatives(alternatives);
    }
    planner.finish();

    std::map<std::int64_t, std::int64_t> next_perturbation;  // of each sample
    while (const auto planned = planner.next()) {
      const std::vector<BatchPiece>& pieces = planned->batch.pieces;
      ASSERT_EQ(planned->samples.size(), pieces.size());
      for (std::size_t i = 0; i < pieces.size(); ++i) {
        const BatchPiece& piece = pieces[i];
        EXPECT_EQ(planned->samples[i]->index, piece.sample_index);
        EXPECT_EQ(piece.perturbation_begin, next_perturbation[piece.sample_index]);
        next_perturbation[piece.sample_index] += std::ssize(piece.perturbations);
        // The first of three is the stem of the others, which follow it.
        const std::int64_t number = piece.sample_index % 3;
        ASSERT_EQ(piece.stem.has_value(), number > 0);
        if (number == 0) continue;
        EXPECT_EQ(*piece.stem, i - static_cast<std::size_t>(number));
        EXPECT_EQ(pieces[*piece.stem].sample_index, piece.sample_index - number);
        EXPECT_EQ(pieces[*piece.stem].perturbation_begin, piece.perturbation_begin);
      }
      if (num_perturbations(planned->batch) > 3) {
        EXPECT_LE(planned->work.rows, batch_tokens);
      }
    }
    for (const Sample& sample : samples)
      EXPECT_EQ(next_perturbation[sample.index], std::ssize(sample.record.units));
  }
}

TEST(BatchPlanTest, CountsWhatAlternativesShareOnce) {
  // Nine tokens of prompt, of which eight rows are shared; ten, thirteen and nine are fed.
  const std::vector<Sample> samples =
      alternatives_of(sample_of(0, 9, 2, {{3}, {1, 2}, {8}}), {2, 5, 1});
  const auto rows_with = [&](const PlanOptions& options) {
    BatchPlanner planner(options);
    planner.add_alternatives(samples);
    planner.finish();
    return planner.next()->work.rows;
  };
  const std::int64_t apart = 10 + 13 + 9 + (7 + 10 + 6) + (9 + 12 + 8) + (2 + 5 + 1);
  EXPECT_EQ(rows_with({}), apart - 2 * 8 - 2 * 5 - 2 * 7);
  // Where rows depend on what follows them nothing is shared.
  EXPECT_EQ(rows_with({.cost = {.is_causal = false}}), apart);
  EXPECT_EQ(rows_with({.suppression = {.kind = SuppressionKind::ShiftedFull}}), apart);
}

TEST(BatchPlanTest, DoesNotShareAPromptThatATokenizerMergedWithATarget) {
  std::vector<Sample> samples = alternatives_of(sample_of(0, 9, 2, {{3}}), {2, 5, 1});
  samples[1].record.tokens[8].id += 1;
  samples[2].record.tokens[8].id += 1;
  BatchPlanner planner({});
  planner.add_alternatives(samples);
  planner.finish();
  const auto planned = planner.next();
  ASSERT_EQ(planned->batch.pieces.size(), 3U);
  EXPECT_FALSE(planned->batch.pieces[0].stem);
  EXPECT_FALSE(planned->batch.pieces[1].stem);
  EXPECT_EQ(planned->batch.pieces[2].stem, 1U);
}

}  // namespace limn::test
