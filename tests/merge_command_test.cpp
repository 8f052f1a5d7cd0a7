#include "launch/merge_command.h"

#include <filesystem>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "launch/job_file.h"
#include "storage/error.h"
#include "storage/relevance_file.h"
#include "tests/sample_records.h"
#include "tests/temporary_folder.h"

namespace limn::test {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

using ChangeJob = std::function<void(Job&)>;
using ChangeAttributes = std::function<void(RelevanceAttributes&)>;

class MergeCommandTest : public testing::Test {
 protected:
  Job job_of_shard(std::int64_t index, std::int64_t count) const {
    Job job;
    job.model.path = "model";
    job.data.path = "data.jsonl";
    job.data.shard = {.index = index, .count = count};
    job.output.path = folder / fmt::format("shard-{}", index);
    return job;
  }

  // A run directory with one sample. Returns it.
  std::filesystem::path write_shard(
      std::int64_t index,
      std::int64_t count,
      const ChangeJob& change_job = [](Job&) {},
      const ChangeAttributes& change_attributes = [](RelevanceAttributes&) {}) {
    Job job = job_of_shard(index, count);
    change_job(job);
    RelevanceAttributes attributes = example_attributes();
    attributes.job = to_toml(job);
    change_attributes(attributes);
    const std::filesystem::path run = folder / fmt::format("shard-{}", index);
    std::filesystem::create_directories(run);
    RelevanceWriter writer(run / "relevance.h5", attributes);
    SampleRecord sample = example_record();
    sample.id = fmt::format("sample-{}", index);
    writer.append(sample);
    writer.close();
    return run;
  }

  std::string merge_into(
      const std::filesystem::path& result, const std::vector<std::filesystem::path>& inputs) {
    std::ostringstream out;
    merge({.result = result, .inputs = inputs}, out);
    return out.str();
  }

  auto merging(const std::vector<std::filesystem::path>& inputs) {
    return [this, inputs] { merge_into(folder / "merged.h5", inputs); };
  }

  TemporaryFolder folder;
};

TEST_F(MergeCommandTest, PutsTheSamplesIntoTheDatasetsOrder) {
  std::vector<std::filesystem::path> shards;
  for (const int index : {0, 1, 10, 2, 3, 4, 5, 6, 7, 8, 9})  // as a shell sorts them
    shards.push_back(write_shard(index, 11));
  const std::filesystem::path merged = folder / "merged.h5";
  EXPECT_EQ(merge_into(merged, shards), merged.string() + ": 11 samples of 11 shards\n");
  const RelevanceReader reader(merged);
  ASSERT_EQ(reader.num_samples(), 11);
  for (int i = 0; i < 11; ++i)
    EXPECT_EQ(reader.read(i).id, fmt::format("sample-{}", i));
}

TEST_F(MergeCommandTest, SaysWhatARunWithoutShardsInThatFolderWouldSay) {
  merge_into(folder / "merged.h5", {write_shard(0, 2), write_shard(1, 2) / "relevance.h5"});
  Job whole = job_of_shard(0, 1);
  whole.output.path = folder.path();
  RelevanceAttributes expected = example_attributes();
  expected.job = to_toml(whole);
  EXPECT_EQ(RelevanceReader(folder / "merged.h5").attributes(), expected);
}

TEST_F(MergeCommandTest, LetsShardsDifferInWhatAltersNothing) {
  const auto elsewhere = [](Job& job) {
    job.parallel.device = "cuda";
    job.checkpoint.interval_s = 5;
  };
  merge_into(folder / "merged.h5", {write_shard(0, 2), write_shard(1, 2, elsewhere)});
  EXPECT_EQ(RelevanceReader(folder / "merged.h5").num_samples(), 2);
}

TEST_F(MergeCommandTest, RefusesShardsThatAreMissingOrThereTwice) {
  const std::filesystem::path first = write_shard(1, 4);
  EXPECT_THAT(
      merging({first, first}),
      ThrowsMessage<DataError>(AllOf(
          HasSubstr("leave one of them out: 1/4"),
          HasSubstr("one of 4 shards, but others are missing; give all of them: 0, 2, 3"))));
}

TEST_F(MergeCommandTest, RefusesWhatDoesNotBelongTogether) {
  const std::filesystem::path first = write_shard(0, 2);
  const auto with_job = [&](const ChangeJob& change) {
    return merging({first, write_shard(1, 2, change)});
  };
  const auto with_attributes = [&](const ChangeAttributes& change) {
    return merging(
        {first,
         write_shard(
             1, 2, [](Job&) {}, change)});
  };
  const auto refused = [](const std::string& what) {
    return ThrowsMessage<DataError>(HasSubstr("of another " + what + " than "));
  };
  EXPECT_THAT(
      with_job([](Job& job) { job.explain.suppression.factor = 0.5; }), refused("explain.factor"));
  EXPECT_THAT(with_job([](Job& job) { job.data.path = "other.jsonl"; }), refused("data.path"));
  EXPECT_THAT(with_job([](Job& job) { job.data.shard.count = 3; }), refused("number of shards"));
  EXPECT_THAT(
      with_attributes([](RelevanceAttributes& attributes) { attributes.model = "other"; }),
      refused("model"));
  EXPECT_THAT(
      with_attributes([](RelevanceAttributes& attributes) { attributes.dtype = "bfloat16"; }),
      refused("dtype"));
  EXPECT_THAT(
      with_attributes([](RelevanceAttributes& attributes) { attributes.tensor_parallel = 1; }),
      refused("tensor_parallel"));
}

TEST_F(MergeCommandTest, KnowsTheDatasetByItsContentWhereTheRunDirectoryIsThere) {
  const auto write_manifest = [&](const std::filesystem::path& run, const std::string& dataset) {
    write_bytes(
        run / "manifest.json",
        fmt::format(
            R"({{"fingerprint": {{"dataset": "{}", "data.shard": "{}"}}}})",
            dataset,
            run.filename().string()));
  };
  const std::filesystem::path first = write_shard(0, 2);
  const std::filesystem::path moved =
      write_shard(1, 2, [](Job& job) { job.data.path = "elsewhere/data.jsonl"; });
  write_manifest(first, "xxh3:1");
  write_manifest(moved, "xxh3:1");
  merge_into(folder / "merged.h5", {first, moved});
  write_manifest(moved, "xxh3:2");
  EXPECT_THAT(
      merging({first, moved}), ThrowsMessage<DataError>(HasSubstr("of another dataset than ")));
}

TEST_F(MergeCommandTest, RefusesEveryShardThatIsNotComplete) {
  const std::filesystem::path unfinished = folder / "shard-0";
  std::filesystem::create_directories(unfinished / "parts");
  write_bytes(unfinished / "parts/part-000000.h5", "");
  const std::filesystem::path incomplete = write_shard(
      1, 2, [](Job&) {}, [](RelevanceAttributes& attributes) { attributes.complete = false; });
  EXPECT_THAT(
      merging({unfinished, incomplete}),
      ThrowsMessage<DataError>(AllOf(
          HasSubstr("shard-0: not complete yet"),
          HasSubstr("shard-1/relevance.h5: not complete"))));
}

TEST_F(MergeCommandTest, DoesNotReplaceWhatItReadsOrDoesNotKnow) {
  const std::filesystem::path first = write_shard(0, 2);
  const std::filesystem::path second = write_shard(1, 2);
  const std::string before = read_bytes(first / "relevance.h5");
  EXPECT_THAT(
      [&] {
        merge_into(first / "relevance.h5", {first, second});
      },
      ThrowsMessage<UsageError>(HasSubstr("the first argument is the file to write")));
  EXPECT_EQ(read_bytes(first / "relevance.h5"), before);
  write_bytes(folder / "notes.txt", "mine");
  EXPECT_THAT(
      [&] {
        merge_into(folder / "notes.txt", {first, second});
      },
      ThrowsMessage<UsageError>(HasSubstr("is no relevance file and is not replaced")));
  EXPECT_EQ(read_bytes(folder / "notes.txt"), "mine");
  // An earlier result is replaced.
  merge_into(folder / "merged.h5", {first, second});
  merge_into(folder / "merged.h5", {second, first});
}

}  // namespace
}  // namespace limn::test
