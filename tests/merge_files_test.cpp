#include "storage/merge_files.h"

#include <fcntl.h>
#include <sys/file.h>

#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/durable_file.h"
#include "storage/error.h"
#include "tests/sample_records.h"
#include "tests/temporary_folder.h"

namespace limn::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

class MergeFilesTest : public testing::Test {
 protected:
  std::filesystem::path write(const std::string& name, const std::vector<SampleRecord>& samples) {
    const std::filesystem::path path = folder / name;
    RelevanceWriter writer(path, example_attributes());
    for (const SampleRecord& sample : samples)
      writer.append(sample);
    writer.close();
    return path;
  }

  // With ids of their own.
  std::vector<SampleRecord> samples(const std::string& prefix, int count) {
    std::vector<SampleRecord> records;
    for (int i = 0; i < count; ++i) {
      records.push_back(random_record(random_));
      records.back().id = fmt::format("{}{}", prefix, i);
    }
    return records;
  }

  TemporaryFolder folder;

 private:
  std::mt19937_64 random_{7};
};

TEST_F(MergeFilesTest, GivesTheBytesOfAFileThatWasWrittenAtOnce) {
  const std::vector<SampleRecord> first = samples("a", 30);
  const std::vector<SampleRecord> second = samples("b", 1);
  const std::vector<SampleRecord> third = samples("c", 17);
  std::vector<SampleRecord> all = first;
  all.insert(all.end(), second.begin(), second.end());
  all.insert(all.end(), third.begin(), third.end());
  const std::filesystem::path at_once = write("at_once.h5", all);

  const std::filesystem::path merged = folder / "merged.h5";
  EXPECT_EQ(
      merge_files(
          {write("1.h5", first), write("2.h5", second), write("3.h5", third)},
          example_attributes(),
          merged),
      48);
  EXPECT_EQ(read_bytes(merged), read_bytes(at_once));
}

TEST_F(MergeFilesTest, RefusesAnIdThatIsThereTwiceAndLeavesWhatWasThere) {
  std::vector<SampleRecord> second = samples("b", 4);
  second[2].id = "a1";
  const std::filesystem::path merged = write("merged.h5", samples("old", 2));
  const std::string before = read_bytes(merged);
  const std::filesystem::path left = write("1.h5", samples("a", 3));
  const std::filesystem::path right = write("2.h5", second);
  EXPECT_THAT(
      [&] {
        merge_files({left, right}, example_attributes(), merged);
      },
      ThrowsMessage<DataError>(AllOf(HasSubstr("2.h5: "), HasSubstr("1.h5 has it, too: a1"))));
  EXPECT_EQ(read_bytes(merged), before);
  EXPECT_FALSE(std::filesystem::exists(folder / ".merged.h5.tmp"));
}

TEST_F(MergeFilesTest, RefusesADamagedFile) {
  const std::filesystem::path whole = write("1.h5", samples("a", 3));
  const std::string bytes = read_bytes(whole);
  write_bytes(folder / "2.h5", bytes.substr(0, bytes.size() / 2));
  EXPECT_THROW(
      merge_files({whole, folder / "2.h5"}, example_attributes(), folder / "merged.h5"), DataError);
  EXPECT_FALSE(std::filesystem::exists(folder / "merged.h5"));
}

TEST_F(MergeFilesTest, RefusesToWriteBesideAnotherProcess) {
  const std::filesystem::path file = write("1.h5", samples("a", 3));
  const FileDescriptor other(folder.path(), O_RDONLY | O_DIRECTORY);
  ASSERT_EQ(::flock(other.get(), LOCK_EX | LOCK_NB), 0);
  EXPECT_THAT(
      [&] { merge_files({file}, example_attributes(), folder / "merged.h5"); },
      ThrowsMessage<IoError>(HasSubstr("another process merges files into this folder")));
}

}  // namespace
}  // namespace limn::test
