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
  EXPECT_EQ(dataset_contents(options("d")).fingerprint, dataset_contents(options("e")).fingerprint);
  EXPECT_EQ(
      dataset_contents(options("d")).fingerprint,
      dataset_contents(options("d/*.jsonl")).fingerprint);
  EXPECT_EQ(
      dataset_contents(options("d/a.jsonl")).fingerprint, file_fingerprint(folder_ / "d/b.jsonl"));
  const std::string before = dataset_contents(options("e")).fingerprint;
  std::filesystem::rename(folder_ / "e/b.jsonl", folder_ / "e/c.jsonl");
  EXPECT_NE(dataset_contents(options("e")).fingerprint, before);
}

// Of a dataset that is extended.
class GrowthTest : public DatasetFilesTest {
 protected:
  // What stands against the dataset of now, as one that was `before`.
  std::string objection(
      const DataOptions& data, const std::vector<DatasetFileContent>& before) const {
    return objection_to_growth(data, before).value_or("none");
  }
};

TEST_F(GrowthTest, AFileMayGrowByWholeLines) {
  write("a.jsonl", std::string(kRecord) + kRecord);
  const DataOptions data = options("a.jsonl");
  const auto before = dataset_contents(data).files;
  EXPECT_EQ(objection(data, before), "none");
  write("a.jsonl", std::string(kRecord) + kRecord + kRecord);
  EXPECT_EQ(objection(data, before), "none");
  // Under another name, too.
  write("b.jsonl", std::string(kRecord) + kRecord + "\n");
  EXPECT_EQ(objection(options("b.jsonl"), before), "none");
  write("a.jsonl", kRecord);
  EXPECT_EQ(objection(data, before), (folder_ / "a.jsonl").string() + ": shorter than it was");
  write("a.jsonl", "{}" + std::string(kRecord) + kRecord);
  EXPECT_THAT(objection(data, before), HasSubstr("a.jsonl: not what it was in its first"));
}

TEST_F(GrowthTest, ALastLineWithoutAnEndMayGetOneAlone) {
  const std::string record = std::string(kRecord).substr(0, std::string(kRecord).size() - 1);
  write("a.jsonl", record);
  const DataOptions data = options("a.jsonl");
  const auto before = dataset_contents(data).files;
  for (const char* more : {"\n", "\r\n{}", "\n{}\n"}) {
    write("a.jsonl", record + more);
    EXPECT_EQ(objection(data, before), "none") << more;
  }
  write("a.jsonl", record + " ");
  EXPECT_THAT(objection(data, before), EndsWith("a.jsonl: its last line goes on now"));
}

TEST_F(GrowthTest, FilesMayFollowTheLastOne) {
  write("d/b.jsonl", kRecord);
  write("d/d.jsonl", kRecord);
  const DataOptions data = options("d");
  const auto before = dataset_contents(data).files;
  write("d/e.jsonl.gz", "not looked at");
  write("d/d.jsonl", std::string(kRecord) + kRecord);
  EXPECT_EQ(objection(data, before), "none");
  write("d/b.jsonl", std::string(kRecord) + kRecord);
  EXPECT_THAT(objection(data, before), EndsWith("longer than it was, but not the last file"));
  write("d/b.jsonl", kRecord);
  write("d/c.jsonl", kRecord);
  EXPECT_THAT(objection(data, before), EndsWith("before those that were there: c.jsonl"));
  std::filesystem::remove(folder_ / "d/c.jsonl");
  std::filesystem::remove(folder_ / "d/b.jsonl");
  EXPECT_THAT(objection(data, before), EndsWith("a file is not there any more: b.jsonl"));
  EXPECT_THAT(objection(options("d/d.jsonl"), before), HasSubstr("was a folder or a pattern"));
}

TEST_F(GrowthTest, WhatIsCompressedOrOneTextDoesNotGrow) {
  const std::string packed = gzipped(kRecord);
  write("d/a.jsonl.gz", packed);
  const auto before = dataset_contents(options("d")).files;
  write("d/b.jsonl", kRecord);
  EXPECT_EQ(objection(options("d"), before), "none");
  write("d/a.jsonl.gz", packed + packed);
  EXPECT_THAT(objection(options("d"), before), HasSubstr("a compressed file that has grown"));
  DataOptions squad = options("s.json");
  squad.format = "squad";
  write("s.json", "{\"data\": []}\n");
  const auto squad_before = dataset_contents(squad).files;
  EXPECT_EQ(objection(squad, squad_before), "none");
  write("s.json", "{\"data\": []}\n\n");
  EXPECT_THAT(objection(squad, squad_before), HasSubstr("a SQuAD file that has grown"));
}

}  // namespace limn::test
