#include "coordinator/dataset_shard.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/dataset.h"
#include "storage/error.h"
#include "tests/temporary_folder.h"

namespace limn::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

class DatasetShardTest : public testing::Test {
 protected:
  // Records with the ids r0, r1 and so on, an empty line between any two.
  void write_records(int count) {
    std::string lines;
    for (int i = 0; i < count; ++i)
      lines += fmt::format(R"({{"id": "r{}", "prompt": "a", "target": "b"}})", i) + "\n\n";
    write_bytes(options.path, lines);
  }

  std::vector<std::string> ids_of_shard(std::int64_t index, std::int64_t count) const {
    DataOptions of_shard = options;
    of_shard.shard = {.index = index, .count = count};
    const DataOptions found = find_shard(of_shard);
    std::vector<std::string> ids;
    DatasetReader reader(found);
    while (const auto record = reader.next()) {
      const bool is_wanted =
          found.sample_ids.empty() ||
          std::ranges::find(found.sample_ids, record->id) != found.sample_ids.end();
      if (is_wanted) ids.push_back(record->id);
    }
    return ids;
  }

  TemporaryFolder folder;
  DataOptions options{.path = folder / "records.jsonl"};
};

TEST_F(DatasetShardTest, CutsIntoSuccessiveRecordsOfAboutEqualNumber) {
  write_records(7);
  EXPECT_THAT(ids_of_shard(0, 3), ElementsAre("r0", "r1"));
  EXPECT_THAT(ids_of_shard(1, 3), ElementsAre("r2", "r3"));
  EXPECT_THAT(ids_of_shard(2, 3), ElementsAre("r4", "r5", "r6"));
}

TEST_F(DatasetShardTest, HasEveryRecordInOneShard) {
  write_records(23);
  for (int count = 1; count <= 23; ++count) {
    std::vector<std::string> ids;
    for (int index = 0; index < count; ++index) {
      const std::vector<std::string> of_shard = ids_of_shard(index, count);
      EXPECT_GE(of_shard.size(), 23U / count);
      EXPECT_LE(of_shard.size(), 23U / count + 1);
      ids.insert(ids.end(), of_shard.begin(), of_shard.end());
    }
    EXPECT_EQ(ids, ids_of_shard(0, 1)) << count;
  }
}

TEST_F(DatasetShardTest, CutsWhatSkipAndLimitLeave) {
  write_records(9);
  options.skip = 2;
  options.limit = 5;
  EXPECT_THAT(ids_of_shard(0, 2), ElementsAre("r2", "r3"));
  EXPECT_THAT(ids_of_shard(1, 2), ElementsAre("r4", "r5", "r6"));
}

TEST_F(DatasetShardTest, CutsWhatSampleIdsLeave) {
  write_records(9);
  options.skip = 1;
  options.sample_ids = {"r8", "r1", "r3", "r4"};
  EXPECT_THAT(ids_of_shard(0, 2), ElementsAre("r1", "r3"));
  EXPECT_THAT(ids_of_shard(1, 2), ElementsAre("r4", "r8"));
}

TEST_F(DatasetShardTest, CountsThroughAllFilesOfAFolder) {
  write_bytes(folder / "b.jsonl", "{\"prompt\": \"a\", \"target\": \"b\"}\n");
  options.path = folder.path();
  write_bytes(folder / "a.jsonl", "\n{\"prompt\": \"a\", \"target\": \"b\"}\n");
  EXPECT_THAT(ids_of_shard(0, 2), ElementsAre("a.jsonl:2"));
  EXPECT_THAT(ids_of_shard(1, 2), ElementsAre("b.jsonl:1"));
}

TEST_F(DatasetShardTest, DoesNotLookIntoTheRecords) {
  write_bytes(options.path, "not JSON\n{}\n");
  options.shard = {.index = 1, .count = 2};
  const DataOptions found = find_shard(options);
  EXPECT_EQ(found.skip, 1);
  EXPECT_EQ(found.limit, 1);
  EXPECT_EQ(found.shard, DataShard{});
}

TEST_F(DatasetShardTest, RefusesMoreShardsThanRecords) {
  write_records(2);
  EXPECT_THAT(
      [&] { ids_of_shard(0, 3); },
      ThrowsMessage<DataError>(HasSubstr("fewer records than shards")));
}

TEST_F(DatasetShardTest, RefusesIdsThatNoRecordHasInEveryShard) {
  write_records(5);
  options.sample_ids = {"r0", "r1", "nobody"};
  for (const int index : {0, 1}) {
    EXPECT_THAT(
        [&] { ids_of_shard(index, 2); },
        ThrowsMessage<DataError>(
            HasSubstr("no record has this id; check data.sample_ids: nobody")));
  }
}

}  // namespace
}  // namespace limn::test
