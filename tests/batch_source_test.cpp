#include "coordinator/batch_source.h"

#include <random>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/error.h"
#include "tests/messages.h"
#include "tests/temporary_folder.h"

namespace limn::test {

namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

// A dataset of token ids, which need no tokenizer, explained token by token.
class BatchSourceTest : public testing::Test {
 protected:
  BatchSourceTest() {
    job_.data.path = folder_ / "data.jsonl";
    job_.explain.units = UnitKind::Token;
    job_.parallel.batch_tokens = 64;
  }

  void write(const std::string& lines) { write_bytes(job_.data.path, lines); }

  // Records of 1 to 20 tokens; some fit together, some span batches of 64 rows.
  void write_random_records(int count) {
    std::mt19937_64 random(23);
    std::string lines;
    for (int i = 0; i < count; ++i) {
      std::string ids = "1";
      for (auto more = random() % 20; more > 0; --more)
        ids += fmt::format(",{}", random() % 90);
      lines += fmt::format(R"({{"input_ids": [{}], "target_ids": [7, 8]}})", ids) + "\n";
    }
    write(lines);
  }

  std::vector<PlannedBatch> all_batches() const {
    BatchSource source(job_, preparer_, {});
    std::vector<PlannedBatch> batches;
    while (auto batch = source.next())
      batches.push_back(*std::move(batch));
    return batches;
  }

  std::string refusal_of_survey() const {
    return message_of<DataError>([&] { survey_dataset(job_, preparer_, {}, {}); });
  }

  TemporaryFolder folder_;
  Job job_;
  ExplainOptions explain_{.units = UnitKind::Token};
  SamplePreparer preparer_{nullptr, explain_, {.vocab_size = 100, .max_positions = 30}};
};

}  // namespace

TEST_F(BatchSourceTest, YieldsTheDatasetInOrder) {
  write_random_records(40);
  std::int64_t next_id = 0;
  std::int64_t last_sample = 0;
  for (const PlannedBatch& planned : all_batches()) {
    EXPECT_EQ(planned.batch.id, next_id++);
    for (const BatchPiece& piece : planned.batch.pieces) {
      EXPECT_TRUE(piece.sample_index == last_sample || piece.sample_index == last_sample + 1);
      last_sample = piece.sample_index;
    }
  }
  EXPECT_EQ(last_sample, 39);
}

TEST_F(BatchSourceTest, StaysAtItsEnd) {
  write(R"({"input_ids": [1], "target_ids": [2]})");
  BatchSource source(job_, preparer_, {});
  EXPECT_TRUE(source.next());
  EXPECT_FALSE(source.next());
  EXPECT_FALSE(source.next());
}

TEST_F(BatchSourceTest, YieldsWhatTheSurveyCounts) {
  write_random_records(60);
  std::int64_t rows = 0;
  const auto batches = all_batches();
  for (const PlannedBatch& planned : batches)
    rows += planned.work.rows;
  const DatasetSurvey survey = survey_dataset(job_, preparer_, {}, {});
  EXPECT_EQ(survey.num_samples, 60);
  EXPECT_EQ(survey.num_batches, std::ssize(batches));
  EXPECT_EQ(survey.num_rows, rows);
  EXPECT_EQ(survey.remaining_rows, rows);
}

TEST_F(BatchSourceTest, SurveysOnlyWhatTheLimitLetsThrough) {
  write_random_records(60);
  job_.data.limit = 9;
  EXPECT_EQ(survey_dataset(job_, preparer_, {}, {}).num_samples, 9);
  EXPECT_EQ(all_batches().back().batch.pieces.back().sample_index, 8);
}

TEST_F(BatchSourceTest, FinishedBatchesDoNotRemain) {
  write_random_records(60);
  const auto batches = all_batches();
  const DatasetSurvey whole = survey_dataset(job_, preparer_, {}, {});
  const std::int64_t last = std::ssize(batches) - 1;
  const DatasetSurvey rest = survey_dataset(job_, preparer_, {}, [&](const PlannedBatch& planned) {
    return std::set<std::int64_t>{0, 3, last}.contains(planned.batch.id);
  });
  EXPECT_EQ(rest.num_batches, whole.num_batches);
  EXPECT_EQ(rest.num_rows, whole.num_rows);
  EXPECT_EQ(
      rest.remaining_rows,
      whole.num_rows - batches[0].work.rows - batches[3].work.rows - batches.back().work.rows);
}

TEST_F(BatchSourceTest, RefusesAnIdThatIsUsedTwiceNamingBothPlaces) {
  write(
      "{\"id\": \"a\", \"input_ids\": [1], \"target_ids\": [2]}\n"
      "\n"
      "{\"id\": \"b\", \"input_ids\": [1], \"target_ids\": [2]}\n"
      "{\"id\": \"a\", \"input_ids\": [1], \"target_ids\": [2]}\n");
  EXPECT_EQ(
      refusal_of_survey(),
      "data.jsonl:4: id must be unique, but data.jsonl:1 has it, too; give each record its own: a");
}

TEST_F(BatchSourceTest, CountsWhatIsSkipped) {
  job_.data.on_error = OnError::Skip;
  write(
      "{\"input_ids\": [1], \"target_ids\": [2]}\n"
      "{\"input_ids\": [1], \"target_ids\": [100]}\n"
      "nonsense\n"
      "{\"input_ids\": [1], \"target_ids\": [2]}\n");
  const DatasetSurvey survey = survey_dataset(job_, preparer_, {}, {});
  EXPECT_EQ(survey.num_samples, 4);
  EXPECT_EQ(survey.num_skipped, 2);
  EXPECT_THAT(survey.first_skipped, StartsWith("data.jsonl:2: a token must be one of"));
  const auto batches = all_batches();
  ASSERT_EQ(std::ssize(batches), survey.num_batches);
  std::int64_t num_skipped = 0;
  for (const PlannedBatch& planned : batches)
    num_skipped += std::ssize(planned.skipped);
  EXPECT_EQ(num_skipped, 2);
}

TEST_F(BatchSourceTest, GivesTheSamePlanOnAnyNumberOfThreads) {
  job_.data.on_error = OnError::Skip;
  write_random_records(500);
  write(read_bytes(job_.data.path) + "nonsense\n");
  const auto expected = all_batches();
  BatchSource source(job_, preparer_, {}, 3);
  for (const PlannedBatch& planned : expected)
    EXPECT_EQ(source.next().value().batch, planned.batch);
  EXPECT_FALSE(source.next());
}

TEST_F(BatchSourceTest, RefusesARepeatedIdAlsoWhereRecordsAreSkipped) {
  job_.data.on_error = OnError::Skip;
  write(
      "{\"id\": \"a\", \"input_ids\": [100], \"target_ids\": [2]}\n"
      "{\"id\": \"a\", \"input_ids\": [1], \"target_ids\": [2]}\n");
  EXPECT_EQ(
      refusal_of_survey(),
      "data.jsonl:2: id must be unique, but data.jsonl:1 has it, too; give each record its own: a");
}

TEST_F(BatchSourceTest, RefusesTenRepetitionsOfMany) {
  std::string lines;
  for (int i = 0; i < 100; ++i)
    lines += fmt::format("{{\"id\": {}, \"input_ids\": [1], \"target_ids\": [2]}}\n", i % 50);
  write(lines);
  const std::string refusal = refusal_of_survey();
  EXPECT_EQ(std::ranges::count(refusal, '\n'), 9);
  EXPECT_THAT(refusal, StartsWith("data.jsonl:51: id must be unique, but data.jsonl:1 has it"));
}

TEST_F(BatchSourceTest, AnIdMayBeRepeatedByARecordThatIsNotTaken) {
  write(
      "{\"id\": \"a\", \"input_ids\": [1], \"target_ids\": [2]}\n"
      "{\"id\": \"b\", \"input_ids\": [1], \"target_ids\": [2]}\n"
      "{\"id\": \"a\", \"input_ids\": [1], \"target_ids\": [2]}\n");
  job_.data.sample_ids = {"b"};
  EXPECT_EQ(survey_dataset(job_, preparer_, {}, {}).num_samples, 1);
  job_.data.sample_ids = {"a", "b"};
  EXPECT_THAT(refusal_of_survey(), HasSubstr("id must be unique"));
  job_.data.sample_ids = {};
  job_.data.skip = 1;
  EXPECT_EQ(survey_dataset(job_, preparer_, {}, {}).num_samples, 2);
  EXPECT_EQ(all_batches().back().batch.pieces.back().sample_index, 1);
}

TEST_F(BatchSourceTest, RefusesIdsThatNoRecordHas) {
  write("{\"id\": \"a\", \"input_ids\": [1], \"target_ids\": [2]}\n");
  job_.data.sample_ids = {"b", "a", "c"};
  const std::string path = job_.data.path.string();
  EXPECT_EQ(
      refusal_of_survey(),
      path + ": no record has this id; check data.sample_ids: b\n" + path +
          ": no record has this id; check data.sample_ids: c");
}

TEST_F(BatchSourceTest, RefusesToSkipEverything) {
  write("{\"id\": \"a\", \"input_ids\": [1], \"target_ids\": [2]}\n");
  job_.data.skip = 1;
  EXPECT_THAT(refusal_of_survey(), HasSubstr("no records behind the first 1; lower data.skip"));
}

TEST_F(BatchSourceTest, MakesASampleOfEveryAlternativeTarget) {
  write(
      "{\"id\": \"a\", \"input_ids\": [1, 2], \"targets_ids\": [[3], [4, 5], [3]]}\n"
      "{\"id\": \"b\", \"input_ids\": [1], \"target_ids\": [2]}\n"
      "{\"id\": \"c\", \"input_ids\": [1], \"targets_ids\": [[2]]}\n");
  EXPECT_EQ(survey_dataset(job_, preparer_, {}, {}).num_samples, 5);
  std::vector<std::string> ids;
  std::vector<std::vector<std::int32_t>> targets;
  for (const PlannedBatch& planned : all_batches()) {
    for (std::size_t i = 0; i < planned.samples.size(); ++i) {
      EXPECT_EQ(planned.samples[i]->index, std::ssize(ids));
      EXPECT_EQ(planned.batch.pieces[i].sample_index, std::ssize(ids));
      ids.push_back(planned.samples[i]->record.id);
      targets.push_back(planned.batch.pieces[i].target_ids);
    }
  }
  EXPECT_THAT(ids, ElementsAre("a#0", "a#1", "a#2", "b", "c#0"));
  EXPECT_THAT(
      targets,
      ElementsAre(
          ElementsAre(3), ElementsAre(4, 5), ElementsAre(3), ElementsAre(2), ElementsAre(2)));
  // The limit counts records.
  job_.data.limit = 1;
  EXPECT_EQ(survey_dataset(job_, preparer_, {}, {}).num_samples, 3);
}

TEST_F(BatchSourceTest, RefusesAnIdThatIsAnAlternativesToo) {
  write(
      "{\"id\": \"a\", \"input_ids\": [1], \"targets_ids\": [[2], [3]]}\n"
      "{\"id\": \"a#1\", \"input_ids\": [1], \"target_ids\": [2]}\n");
  EXPECT_EQ(
      refusal_of_survey(),
      "data.jsonl:2: id must be unique, but data.jsonl:1 has it, too; give each record its own: "
      "a#1");
}

TEST_F(BatchSourceTest, RefusesARepeatedIdWhereTheModelGivesTheTargets) {
  job_.explain.target = "generate";
  write(
      "{\"id\": \"a\", \"input_ids\": [1], \"targets_ids\": [[2], [3]]}\n"
      "{\"id\": \"a\", \"input_ids\": [1]}\n");
  EXPECT_EQ(
      message_of<DataError>([&] { survey_prompts(job_, preparer_); }),
      "data.jsonl:2: id must be unique, but data.jsonl:1 has it, too; give each record its own: a");
}

TEST_F(BatchSourceTest, NamesTheRecordOfABadAlternative) {
  write("{\"input_ids\": [1], \"targets_ids\": [[2], []]}\n");
  EXPECT_EQ(refusal_of_survey(), "data.jsonl:1: target_ids must not be empty");
}

TEST_F(BatchSourceTest, RefusesAnIdThatIsAnotherLinesNumber) {
  write(
      "{\"id\": 2, \"input_ids\": [1], \"target_ids\": [2]}\n"
      "{\"input_ids\": [1], \"target_ids\": [2]}\n");
  EXPECT_THAT(
      refusal_of_survey(), AllOf(StartsWith("data.jsonl:2: id must be unique"), HasSubstr(":1 ")));
}

TEST_F(BatchSourceTest, RefusesADatasetWithoutRecords) {
  for (const char* lines : {"", "\n  \n"}) {
    write(lines);
    EXPECT_EQ(refusal_of_survey(), job_.data.path.string() + ": no records; nothing to explain");
  }
}

TEST_F(BatchSourceTest, FindsABadLastLineInTheSurvey) {
  write(
      "{\"input_ids\": [1], \"target_ids\": [2]}\n"
      "{\"input_ids\": [1], \"target_ids\": [100]}\n");
  EXPECT_THAT(refusal_of_survey(), StartsWith("data.jsonl:2: "));
  write(
      "{\"input_ids\": [1], \"target_ids\": [2]}\n"
      "{\"input_ids\": [1], \"target_ids\": ");
  EXPECT_THAT(refusal_of_survey(), StartsWith("data.jsonl:2: not JSON"));
}

TEST_F(BatchSourceTest, YieldsWhatComesLongBeforeABadLine) {
  // Each record makes a batch.
  job_.parallel.batch_tokens = 1;
  std::string lines;
  for (int i = 0; i < 40; ++i)
    lines += "{\"input_ids\": [1], \"target_ids\": [2]}\n";
  write(lines + "{\"input_ids\": [], \"target_ids\": [2]}\n");
  BatchSource source(job_, preparer_, {});
  for (int i = 0; i < 40 - 16; ++i)
    EXPECT_TRUE(source.next());
  EXPECT_THROW(
      {
        while (source.next()) {
        }
      },
      DataError);
}

}  // namespace limn::test
