#include "storage/byte_stream.h"

#include <random>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/error.h"
#include "tests/messages.h"
#include "tests/packed_bytes.h"
#include "tests/temporary_folder.h"

namespace limn::test {

namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// As large as some of the buffers, so that everything is cut somewhere.
std::string large_text() {
  std::mt19937 random(7);
  std::string text;
  while (text.size() < 1'500'000) {
    text.append(random() % 200, static_cast<char>('a' + random() % 26));
    text += random() % 9 == 0 ? "" : "\n";
  }
  return text;
}

using Pack = std::string (*)(std::string_view);

std::string left_alone(std::string_view bytes) {
  return std::string(bytes);
}

class FileTest {
 protected:
  std::filesystem::path write(const std::string& bytes) {
    write_bytes(folder_ / "file", bytes);
    return folder_ / "file";
  }

  TemporaryFolder folder_;
};

class ByteStreamTest : public FileTest, public testing::TestWithParam<Pack> {};

class PackedFileTest : public FileTest, public testing::TestWithParam<Pack> {};

class OneFileTest : public FileTest, public testing::Test {};

std::vector<std::string> lines_of(const std::filesystem::path& path) {
  LineReader reader(path);
  std::vector<std::string> lines;
  for (std::string line; reader.next(line);)
    lines.push_back(line);
  return lines;
}

}  // namespace

TEST_P(ByteStreamTest, GivesBackWhatWasWritten) {
  for (const std::string& text : {std::string(), std::string("a"), std::string("\0\n", 2)}) {
    EXPECT_EQ(read_whole_file(write(GetParam()(text))), text);
  }
  EXPECT_EQ(read_whole_file(write(GetParam()(large_text()))), large_text());
}

TEST_P(ByteStreamTest, FillsBuffersOfAnySize) {
  const std::string text = large_text().substr(0, 5000);
  const auto path = write(GetParam()(text));
  for (const std::size_t size : {1, 3, 4096}) {
    const auto stream = open_byte_stream(path);
    std::string all;
    std::string buffer(size, ' ');
    while (const std::size_t got = stream->read(buffer))
      all.append(buffer, 0, got);
    EXPECT_EQ(all, text);
    EXPECT_EQ(stream->read(buffer), 0U);
  }
}

TEST_P(ByteStreamTest, CutsLines) {
  EXPECT_THAT(lines_of(write(GetParam()(""))), ElementsAre());
  EXPECT_THAT(lines_of(write(GetParam()("\n"))), ElementsAre(""));
  EXPECT_THAT(lines_of(write(GetParam()("a\n\nbc"))), ElementsAre("a", "", "bc"));
  const std::string long_line(1'000'000, 'x');
  EXPECT_THAT(
      lines_of(write(GetParam()(long_line + "\n" + long_line + "\n"))),
      ElementsAre(long_line, long_line));
  std::string joined;
  for (const std::string& line : lines_of(write(GetParam()(large_text()))))
    joined += line + "\n";
  EXPECT_EQ(joined, large_text().ends_with('\n') ? large_text() : large_text() + "\n");
}

INSTANTIATE_TEST_SUITE_P(
    All, ByteStreamTest, testing::Values(left_alone, gzipped, zstd_packed), [](const auto& test) {
      return std::string(test.index == 0 ? "Plain" : test.index == 1 ? "Gzip" : "Zstd");
    });

TEST_P(PackedFileTest, ReadsArchivesOneAfterTheOther) {
  const std::string two = GetParam()("one\n") + GetParam()("") + GetParam()("two\n");
  EXPECT_EQ(read_whole_file(write(two)), "one\ntwo\n");
}

TEST_P(PackedFileTest, RefusesAnArchiveThatEndsEarly) {
  const std::string packed = GetParam()(large_text());
  for (const std::size_t size : {std::size_t{5}, packed.size() / 2, packed.size() - 1}) {
    EXPECT_THAT(
        message_of<DataError>([&] { read_whole_file(write(packed.substr(0, size))); }),
        HasSubstr("file: the archive ends before its contents do; fetch or pack it again"));
  }
}

TEST_P(PackedFileTest, RefusesDamage) {
  const std::string packed = GetParam()(large_text());
  EXPECT_THAT(
      message_of<DataError>([&] { read_whole_file(write(packed + "rubbish")); }),
      HasSubstr("file: the archive is damaged; fetch or pack it again: "));
  std::mt19937 random(11);
  int num_refused = 0;
  for (int i = 0; i < 200; ++i) {
    try {
      // Flags of a header that say nothing of the contents may be altered.
      EXPECT_EQ(read_whole_file(write(damaged(packed, random))), large_text());
    } catch (const DataError&) {
      ++num_refused;
    }
  }
  EXPECT_GT(num_refused, 150);
}

INSTANTIATE_TEST_SUITE_P(All, PackedFileTest, testing::Values(gzipped, zstd_packed));

TEST_F(OneFileTest, RefusesANameThatPromisesAnArchive) {
  write_bytes(folder_ / "a.jsonl.gz", "{}\n");
  write_bytes(folder_ / "a.jsonl.zst", "");
  EXPECT_THAT(
      message_of<DataError>([&] { open_byte_stream(folder_ / "a.jsonl.gz"); }),
      HasSubstr("a.jsonl.gz: is no archive of gzip, as its name says"));
  EXPECT_THAT(
      message_of<DataError>([&] { open_byte_stream(folder_ / "a.jsonl.zst"); }),
      HasSubstr("a.jsonl.zst: is no archive of zstd"));
}

TEST_F(OneFileTest, RefusesWhatCannotBeRead) {
  EXPECT_THROW(open_byte_stream(folder_ / "missing"), IoError);
  EXPECT_THROW(read_whole_file(folder_.path()), IoError);
}

}  // namespace limn::test
