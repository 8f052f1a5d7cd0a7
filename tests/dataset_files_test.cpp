#include "coordinator/dataset_files.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/dataset.h"
#include "storage/error.h"
#include "storage/fingerprint.h"
#include "tests/messages.h"
#include "tests/packed_bytes.h"
#include "tests/temporary_folder.h"

namespace limn::test {

namespace {

using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;

constexpr const char* kRecord = "{\"prompt\": \"a\", \"target\": \"b\"}\n";

class DatasetFilesTest : public testing::Test {
 protected:
  void write(const std::string& name, const std::string& bytes) {
    std::filesystem::create_directories((folder_ / name).parent_path());
    write_bytes(folder_ / name, bytes);
  }

  DataOptions options(const std::string& path) const { return {.path = folder_ / path}; }

  std::vector<std::string> names(const std::string& path) const {
    std::vector<std::string> names;
    for (const DatasetFile& file : find_dataset_files(options(path)).files)
      names.push_back(file.name);
    return names;
  }

  std::vector<std::string> ids(const DataOptions& data) const {
    std::vector<std::string> ids;
    DatasetReader reader(data);
    while (const auto record = reader.next())
      ids.push_back(record->id);
    return ids;
  }

  TemporaryFolder folder_;
};

}  // namespace

TEST_F(DatasetFilesTest, FindsTheFilesOfAFolderInTheOrderOfTheirBytes) {
  for (const char* name :
       {"d/b.jsonl", "d/part-10.jsonl.gz", "d/part-9.jsonl.zst", "d/B.jsonl", "d/\xC3\xA9.jsonl"}) {
    write(name, kRecord);
  }
  for (const char* other :
       {"d/.hidden.jsonl", "d/README.md", "d/c.json", "d/c.jsonl.bz2", "d/more.jsonl/x.jsonl"}) {
    write(other, kRecord);
  }
  const std::vector<std::string> expected = {
      "B.jsonl", "b.jsonl", "part-10.jsonl.gz", "part-9.jsonl.zst", "\xC3\xA9.jsonl"};
  EXPECT_EQ(names("d"), expected);
  EXPECT_EQ(names("d/"), expected);
  DataOptions squad = options("d");
  squad.format = "squad";
  EXPECT_EQ(find_dataset_files(squad).files.front().name, "c.json");
}

TEST_F(DatasetFilesTest, FindsWhatMatchesAPattern) {
  for (const char* name : {"de/train.jsonl", "en/train.jsonl", "en/test.jsonl", "en/train.txt"})
    write(name, kRecord);
  EXPECT_THAT(names("*/train.jsonl"), ElementsAre("de/train.jsonl", "en/train.jsonl"));
  EXPECT_THAT(names("en/t*.jsonl"), ElementsAre("test.jsonl", "train.jsonl"));
  EXPECT_THAT(names("e?/train.[t]xt"), ElementsAre("en/train.txt"));
}

TEST_F(DatasetFilesTest, TakesAFileThatIsNamedLikeAPattern) {
  write("a[1].jsonl", kRecord);
  write("a1.jsonl", kRecord);
  const DatasetFiles dataset = find_dataset_files(options("a[1].jsonl"));
  EXPECT_FALSE(dataset.are_shards);
  EXPECT_THAT(names("a[1].jsonl"), ElementsAre("a[1].jsonl"));
}

TEST_F(DatasetFilesTest, RefusesWhatLeadsNowhere) {
  write("d/README.md", "");
  EXPECT_THAT(
      message_of<IoError>([&] { names("d"); }),
      EndsWith("d: the folder holds no *.jsonl file, packed by gzip or zstd or not; check "
               "data.path and data.format"));
  EXPECT_THAT(
      message_of<IoError>([&] { names("d/*.jsonl"); }),
      HasSubstr("d/*.jsonl: no file matches the pattern"));
}

TEST_F(DatasetFilesTest, RecordsOfShardsAreNamedAfterFileAndLine) {
  write("d/b.jsonl.gz", gzipped(std::string("\n") + kRecord + kRecord));
  write("d/a.jsonl.zst", zstd_packed(kRecord));
  write("d/c.jsonl", "{\"id\": 7, \"prompt\": \"a\", \"target\": \"b\"}\nnonsense\n");
  const std::vector<std::string> expected = {"a.jsonl.zst:1", "b.jsonl.gz:2", "b.jsonl.gz:3", "7"};
  DataOptions data = options("d");
  data.limit = 4;
  EXPECT_EQ(ids(data), expected);
  data.path = folder_ / "d/*.jsonl*";
  EXPECT_EQ(ids(data), expected);
  // Also if there is one file today.
  EXPECT_THAT(ids(options("d/a*")), ElementsAre("a.jsonl.zst:1"));
  EXPECT_THAT(ids(options("d/b.jsonl.gz")), ElementsAre("2", "3"));
  data.limit = 0;
  EXPECT_THAT(
      message_of<DataError>([&] { ids(data); }), testing::StartsWith("c.jsonl:2: not JSON"));
}

TEST_F(DatasetFilesTest, SkipAndLimitCountOverAllFiles) {
  write("d/a.jsonl", std::string(kRecord) + "nonsense\n");
  write("d/b.jsonl", "");
  write("d/c.jsonl", std::string(kRecord) + kRecord + "nonsense\n");
  DataOptions data = options("d");
  data.skip = 2;
  data.limit = 2;
  EXPECT_THAT(ids(data), ElementsAre("c.jsonl:1", "c.jsonl:2"));
  data.skip = 3;
  data.limit = 1;
  EXPECT_THAT(ids(data), ElementsAre("c.jsonl:2"));
  data.skip = 9;
  EXPECT_THAT(ids(data), ElementsAre());
}

TEST_F(DatasetFilesTest, ADamagedShardIsTheEnd) {
  write("d/a.jsonl.gz", gzipped(kRecord).substr(0, 20));
  write("d/b.jsonl", kRecord);
  DatasetReader reader(options("d"));
  EXPECT_THAT(
      message_of<DataError>([&] {
        while (reader.next()) {
        }
      }),
      HasSubstr("a.jsonl.gz: the archive ends before its contents do"));
  EXPECT_FALSE(reader.next());
}

TEST_F(DatasetFilesTest, TheFingerprintIsOfContentsAndTheNamesOfShards) {
  write("d/a.jsonl", kRecord);
  write("d/b.jsonl", kRecord);
  write("e/a.jsonl", kRecord);
  write("e/b.jsonl", kRecord);
  write("e/c.txt", "no part of it");
  EXPECT_EQ(dataset_fingerprint(options("d")), dataset_fingerprint(options("e")));
  EXPECT_EQ(dataset_fingerprint(options("d")), dataset_fingerprint(options("d/*.jsonl")));
  EXPECT_EQ(dataset_fingerprint(options("d/a.jsonl")), file_fingerprint(folder_ / "d/b.jsonl"));
  const std::string before = dataset_fingerprint(options("e"));
  std::filesystem::rename(folder_ / "e/b.jsonl", folder_ / "e/c.jsonl");
  EXPECT_NE(dataset_fingerprint(options("e")), before);
}

}  // namespace limn::test
