#include "storage/mapped_file.h"

#include <string_view>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/error.h"
#include "tests/messages.h"
#include "tests/temporary_folder.h"

namespace limn::test {

namespace {

using testing::HasSubstr;

std::string_view text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

TEST(MappedFileTest, ShowsTheFilesBytes) {
  const TemporaryFolder folder;
  write_bytes(folder / "a", std::string("one\0two", 7));
  EXPECT_EQ(text_of(MappedFile(folder / "a")), std::string_view("one\0two", 7));
}

TEST(MappedFileTest, AnEmptyFileHasNoBytes) {
  const TemporaryFolder folder;
  write_bytes(folder / "a", "");
  EXPECT_TRUE(MappedFile(folder / "a").bytes().empty());
}

TEST(MappedFileTest, BytesStayWhereTheyAreWhenItMoves) {
  const TemporaryFolder folder;
  write_bytes(folder / "a", "one");
  write_bytes(folder / "b", "two");
  MappedFile first(folder / "a");
  const std::byte* const begin = first.bytes().data();
  MappedFile moved(std::move(first));
  EXPECT_EQ(moved.bytes().data(), begin);
  MappedFile other(folder / "b");
  other = std::move(moved);
  EXPECT_EQ(text_of(other), "one");
}

TEST(MappedFileTest, KeepsItsBytesReadableWhenTheirMemoryIsReleased) {
  const TemporaryFolder folder;
  const std::string text(100'000, 'x');
  write_bytes(folder / "a", text);
  const MappedFile file(folder / "a");
  EXPECT_EQ(text_of(file), text);
  file.release(file.bytes());
  file.release(file.bytes().subspan(5'000, 70'000));
  EXPECT_EQ(text_of(file), text);
  // Bytes of somebody else are none of its business.
  const std::string other = "other";
  file.release(std::as_bytes(std::span(other)));
  EXPECT_EQ(other, "other");
}

TEST(MappedFileTest, FetchesWhatIsThere) {
  const TemporaryFolder folder;
  const std::string text(100'000, 'x');
  write_bytes(folder / "a", text);
  const MappedFile file(folder / "a");
  file.fetch(file.bytes());
  file.release(file.bytes());
  file.fetch(file.bytes().subspan(5'000, 70'000));
  EXPECT_EQ(text_of(file), text);
  const std::string other = "other";
  file.fetch(std::as_bytes(std::span(other)));
}

TEST(MappedFileTest, NamesAFileThatHasBecomeShorter) {
  const TemporaryFolder folder;
  write_bytes(folder / "a", std::string(100'000, 'x'));
  const MappedFile file(folder / "a");
  std::filesystem::resize_file(folder / "a", 50'000);
  file.fetch(file.bytes().first(50'000));
  EXPECT_THAT(
      message_of<IoError>([&] { file.fetch(file.bytes().subspan(40'000, 10'001)); }),
      HasSubstr(
          "a: has become shorter since it was opened; fetch it again: 50000 of 100000 bytes"));
}

TEST(MappedFileTest, NamesWhatCannotBeMapped) {
  const TemporaryFolder folder;
  EXPECT_THAT(
      message_of<IoError>([&] { MappedFile(folder / "missing"); }),
      HasSubstr("missing: cannot be opened: No such file"));
  EXPECT_THAT(
      message_of<IoError>([&] { MappedFile(folder.path()); }), HasSubstr("is no regular file"));
}

}  // namespace

}  // namespace limn::test
