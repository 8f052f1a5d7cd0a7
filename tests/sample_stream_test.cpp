#include "coordinator/sample_stream.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/error.h"
#include "storage/generated_targets.h"
#include "tests/messages.h"
#include "tests/temporary_folder.h"

namespace limn::test {

namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

// Datasets of token ids, on one thread and on several.
class SampleStreamTest : public testing::TestWithParam<int> {
 protected:
  void write(const std::string& lines) { write_bytes(job_.data.path, lines); }

  static std::string record(const std::string& id, int token = 1) {
    return fmt::format("{{\"id\": \"{}\", \"input_ids\": [{}], \"target_ids\": [2]}}\n", id, token);
  }

  SampleStream stream() const {
    return SampleStream(job_, preparer_, target_source(job_), GetParam());
  }

  static std::vector<Sample> rest_of(SampleStream& samples) {
    std::vector<Sample> list;
    for (auto of_record = samples.next(); !of_record.empty(); of_record = samples.next())
      std::ranges::move(of_record, std::back_inserter(list));
    return list;
  }

  std::vector<Sample> all() const {
    SampleStream samples = stream();
    return rest_of(samples);
  }

  static std::vector<std::string> ids(const std::vector<Sample>& samples) {
    std::vector<std::string> ids;
    for (const Sample& sample : samples)
      ids.push_back(sample.record.id);
    return ids;
  }

  TemporaryFolder folder_;
  Job job_{.data = {.path = folder_ / "data.jsonl"}};
  SamplePreparer preparer_{
      nullptr, {.units = UnitKind::Token}, {.vocab_size = 100, .max_positions = 30}};
};

}  // namespace

TEST_P(SampleStreamTest, MakesASampleOfEachAlternativeTarget) {
  write(
      record("a") + "{\"id\": \"b\", \"input_ids\": [1], \"targets_ids\": [[2], [3]]}\n" +
      record("c"));
  SampleStream samples = stream();
  EXPECT_THAT(ids(samples.next()), ElementsAre("a"));
  EXPECT_THAT(ids(samples.next()), ElementsAre("b#0", "b#1"));
  const std::vector<Sample> last = samples.next();
  EXPECT_THAT(ids(last), ElementsAre("c"));
  EXPECT_EQ(last[0].index, 3);
  EXPECT_EQ(last[0].record_index, 2);
}

TEST_P(SampleStreamTest, SkipsARecordWhoseAlternativesAreNotAllRight) {
  job_.data.on_error = OnError::Skip;
  write("{\"id\": \"b\", \"input_ids\": [1], \"targets_ids\": [[2], [100]]}\n" + record("c"));
  const std::vector<Sample> samples = all();
  EXPECT_THAT(ids(samples), ElementsAre("b", "c"));
  EXPECT_EQ(samples[0].record.status, SampleStatus::Skipped);
}

TEST_P(SampleStreamTest, TakesTheTargetsThatTheModelGave) {
  job_.explain.target = "generate";
  job_.data.limit = 3;
  write(record("a") + "{\"id\": \"b\", \"input_ids\": [5, 6]}\n" + record("c") + record("d"));
  SampleStream prompts(job_, preparer_, TargetSource::Nowhere, GetParam());
  const std::vector<Sample> asked = rest_of(prompts);
  EXPECT_THAT(ids(asked), ElementsAre("a", "b", "c"));
  EXPECT_EQ(asked[1].prompt_length, 2);
  EXPECT_TRUE(asked[1].record.targets.empty());

  job_.output.path = folder_ / "run";
  std::filesystem::create_directory(job_.output.path);
  GeneratedTargetsWriter(generated_targets_path(job_.output.path), 0)
      .append(std::vector<GeneratedTargetLine>{{0, {7}, ""}, {1, {8, 9}, ""}});
  SampleStream samples = stream();
  EXPECT_EQ(samples.next().at(0).record.targets.at(0).token, 7);
  EXPECT_EQ(samples.next().at(0).record.targets.at(1).token, 9);
  EXPECT_THAT(
      message_of<DataError>([&] { samples.next(); }), HasSubstr("the model has given no target"));
}

TEST_P(SampleStreamTest, KeepsTheOrderOfTheDataset) {
  std::string lines;
  for (int i = 0; i < 5000; ++i)
    lines += record(std::to_string(i), i % 100);
  write(lines);
  const std::vector<Sample> samples = all();
  ASSERT_EQ(samples.size(), 5000U);
  for (int i = 0; i < 5000; ++i) {
    EXPECT_EQ(samples[i].index, i);
    EXPECT_EQ(samples[i].record.id, std::to_string(i));
    EXPECT_EQ(samples[i].record.tokens[0].id, i % 100);
  }
}

TEST_P(SampleStreamTest, StaysAtItsEnd) {
  write(record("a"));
  SampleStream samples = stream();
  EXPECT_FALSE(samples.next().empty());
  EXPECT_TRUE(samples.next().empty());
  EXPECT_TRUE(samples.next().empty());
}

TEST_P(SampleStreamTest, MayBeLeftBeforeItsEnd) {
  std::string lines;
  for (int i = 0; i < 20'000; ++i)
    lines += record(std::to_string(i));
  write(lines);
  for (int i = 0; i < 20; ++i) {
    SampleStream samples = stream();
    EXPECT_EQ(samples.next().at(0).record.id, "0");
  }
}

TEST_P(SampleStreamTest, ThrowsInOrderAndGoesOn) {
  write(record("a") + "nonsense\n" + record("b") + record("c", 100) + record("d"));
  SampleStream samples = stream();
  EXPECT_EQ(samples.next().at(0).record.id, "a");
  EXPECT_THAT(message_of<DataError>([&] { samples.next(); }), StartsWith("data.jsonl:2: not JSON"));
  EXPECT_EQ(samples.next().at(0).record.id, "b");
  EXPECT_THAT(
      message_of<DataError>([&] { samples.next(); }), StartsWith("data.jsonl:4: a token must be"));
  EXPECT_EQ(samples.next().at(0).record.id, "d");
  EXPECT_TRUE(samples.next().empty());
}

TEST_P(SampleStreamTest, SkipsWhatCannotBeReadOrExplained) {
  job_.data.on_error = OnError::Skip;
  std::string too_long = "1";
  for (int i = 0; i < 40; ++i)
    too_long += ",1";
  write(
      record("a") + "nonsense \xFF\n" + "{\"id\": \"b\", \"promt\": 1}\n" + record("c", 100) +
      "{\"id\": \"d\", \"input_ids\": [" + too_long + "], \"target_ids\": [1]}\n" +
      "{\"id\": \"\", \"input_ids\": [1], \"target_ids\": [1]}\n" + "{\"input_ids\": []}\n" +
      record("e"));
  const std::vector<Sample> samples = all();
  EXPECT_THAT(
      ids(samples), ElementsAre("a", "data.jsonl:2", "b", "c", "d", "data.jsonl:6", "7", "e"));
  const std::vector<std::string> messages = {
      "",
      "data.jsonl:2: not JSON",
      "data.jsonl:3: unknown key, did you mean prompt: promt",
      "data.jsonl:4: a token must be one of the model's 100",
      "data.jsonl:5: the model takes at most 30 tokens of prompt and target",
      "data.jsonl:6: id must be a string of at least one character",
      "data.jsonl:7: neither target nor target_ids is there",
      ""};
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const SampleRecord& sample = samples[i].record;
    EXPECT_THAT(sample.message, StartsWith(messages[i]));
    EXPECT_EQ(samples[i].index, static_cast<std::int64_t>(i));
    EXPECT_EQ(sample.status, messages[i].empty() ? SampleStatus::Ok : SampleStatus::Skipped);
    EXPECT_EQ(sample.tokens.empty(), !messages[i].empty());
  }
}

TEST_P(SampleStreamTest, TakesTheSamplesThatAreAskedFor) {
  job_.data.sample_ids = {"d", "nowhere", "b", "data.jsonl:3", "c"};
  job_.data.on_error = OnError::Skip;
  // "c" cannot be explained, and "x" need not be.
  write(
      record("a") + record("b") + "nonsense\n" + record("c", 100) + record("x", 100) + record("d"));
  SampleStream samples = stream();
  const std::vector<Sample> list = rest_of(samples);
  EXPECT_THAT(ids(list), ElementsAre("b", "data.jsonl:3", "c", "d"));
  EXPECT_EQ(list[3].index, 3);
  EXPECT_THAT(samples.missing_ids(), ElementsAre("nowhere"));
}

TEST_P(SampleStreamTest, ThrowsWhatReadingThrowsAndEnds) {
  job_.data.on_error = OnError::Skip;
  std::filesystem::create_directory(folder_ / "d");
  write_bytes(folder_ / "d/a.jsonl", record("a"));
  write_bytes(folder_ / "d/b.jsonl.gz", "no archive");
  job_.data.path = folder_ / "d";
  SampleStream samples = stream();
  EXPECT_EQ(samples.next().at(0).record.id, "a");
  EXPECT_THAT(
      message_of<DataError>([&] { samples.next(); }),
      HasSubstr("b.jsonl.gz: is no archive of gzip"));
  EXPECT_TRUE(samples.next().empty());
}

TEST_P(SampleStreamTest, ReadsLinesThatAreLargerThanAllThatIsReadAhead) {
  std::string lines;
  for (int i = 0; i < 5; ++i) {
    lines += "{\"id\": \"" + std::to_string(i) + "\"," + std::string(6'000'000, ' ') +
             "\"input_ids\": [1], \"target_ids\": [2]}\n";
  }
  write(lines);
  EXPECT_THAT(ids(all()), ElementsAre("0", "1", "2", "3", "4"));
}

INSTANTIATE_TEST_SUITE_P(Threads, SampleStreamTest, testing::Values(1, 3));

}  // namespace limn::test
