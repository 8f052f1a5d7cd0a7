#include "storage/zip_archive.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/error.h"
#include "tests/messages.h"

namespace limn::test {

namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;

std::string little_endian(std::uint64_t value, int width) {
  std::string bytes;
  for (int i = 0; i < width; ++i)
    bytes.push_back(static_cast<char>(value >> (8 * i)));
  return bytes;
}

constexpr std::uint64_t kElsewhere32 = 0xffffffff;

// An archive of one member, written by hand after APPNOTE.TXT. Fields that are set replace what
// would be right.
struct OneMember {
  std::string name = "folder/member";
  std::string content = "content";
  std::string padding = "";  // extra field of the member's own header, as torch aligns
  std::string comment = "";
  std::uint64_t flags = 0x0808;  // UTF-8 names, sizes only in the directory
  std::uint64_t method = 0;
  bool is_zip64 = false;
  std::optional<std::uint64_t> bytes;
  std::optional<std::uint64_t> stored_bytes;
  std::optional<std::uint64_t> local_offset;
  std::optional<std::uint64_t> directory_offset;
  std::optional<std::uint64_t> num_members;
  std::string zip64_locator = "PK\x06\x07";
  std::string zip64_end = "PK\x06\x06";
  std::string central = "PK\x01\x02";
  std::string local = "PK\x03\x04";

  std::string archive() const {
    std::string text = "in front of the first member";
    const std::uint64_t offset = text.size();
    text += local + std::string(22, '\0') + little_endian(name.size(), 2) +
            little_endian(padding.size(), 2) + name + padding + content;
    const std::uint64_t directory = text.size();
    text += central_header(offset);
    return text + ends(directory, text.size() - directory, text.size());
  }

 private:
  std::string central_header(std::uint64_t offset) const {
    const auto number = [&](std::uint64_t value) {
      return little_endian(is_zip64 ? kElsewhere32 : value, 4);
    };
    const std::uint64_t stored = stored_bytes.value_or(content.size());
    const std::uint64_t whole = bytes.value_or(content.size());
    const std::uint64_t at = local_offset.value_or(offset);
    // Behind an extra field of another kind, to be passed over.
    const std::string extra = "FB" + little_endian(3, 2) + "ZZZ" + little_endian(1, 2) +
                              little_endian(24, 2) + little_endian(whole, 8) +
                              little_endian(stored, 8) + little_endian(at, 8);
    return central + std::string(4, '\0') + little_endian(flags, 2) + little_endian(method, 2) +
           std::string(8, '\0') + number(stored) + number(whole) + little_endian(name.size(), 2) +
           little_endian(is_zip64 ? extra.size() : 0, 2) + little_endian(7, 2) +
           std::string(8, '\0') + number(at) + name + (is_zip64 ? extra : "") + "comment";
  }

  std::string ends(std::uint64_t directory, std::uint64_t length, std::uint64_t here) const {
    const std::uint64_t count = num_members.value_or(1);
    const std::uint64_t offset = directory_offset.value_or(directory);
    std::string text;
    if (is_zip64) {
      text += zip64_end + little_endian(44, 8) + std::string(12, '\0') + little_endian(count, 8) +
              little_endian(count, 8) + little_endian(length, 8) + little_endian(offset, 8);
      text += zip64_locator + little_endian(0, 4) + little_endian(here, 8) + little_endian(1, 4);
    }
    return text + "PK\x05\x06" + std::string(4, '\0') + little_endian(count, 2) +
           little_endian(count, 2) + little_endian(is_zip64 ? kElsewhere32 : length, 4) +
           little_endian(is_zip64 ? kElsewhere32 : offset, 4) + little_endian(comment.size(), 2) +
           comment;
  }
};

std::vector<ZipMember> members(const std::string& archive) {
  return zip_members(std::as_bytes(std::span(archive)), "file");
}

std::string refusal_of(const OneMember& member) {
  const std::string archive = member.archive();
  return message_of<DataError>([&] { members(archive); });
}

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class ZipArchiveTest : public testing::TestWithParam<bool> {};

TEST_P(ZipArchiveTest, FindsAMemberInPlace) {
  const std::string archive =
      OneMember{.padding = "any length", .comment = "PK\x05\x06 or so", .is_zip64 = GetParam()}
          .archive();
  const std::vector<ZipMember> found = members(archive);
  ASSERT_EQ(found.size(), 1);
  EXPECT_EQ(found[0].name, "folder/member");
  EXPECT_EQ(text_of(found[0].bytes), "content");
  EXPECT_EQ(
      reinterpret_cast<const char*>(found[0].bytes.data()),
      archive.data() + archive.find("content"));
}

TEST_P(ZipArchiveTest, RefusesWhatLiesOutside) {
  const std::uint64_t far = GetParam() ? ~std::uint64_t{0} - 3 : kElsewhere32 - 1;
  for (const OneMember& member :
       {OneMember{.is_zip64 = GetParam(), .bytes = far, .stored_bytes = far},
        OneMember{.is_zip64 = GetParam(), .bytes = 500, .stored_bytes = 500},
        OneMember{.is_zip64 = GetParam(), .local_offset = far},
        OneMember{.is_zip64 = GetParam(), .directory_offset = far}}) {
    EXPECT_THAT(refusal_of(member), HasSubstr("file: a zip archive that names bytes past its end"));
  }
}

TEST_P(ZipArchiveTest, RefusesACountThatTheDirectoryDoesNotHave) {
  EXPECT_THAT(
      refusal_of({.is_zip64 = GetParam(), .num_members = 60000}),
      HasSubstr("file (directory): ends too early"));
}

TEST_P(ZipArchiveTest, RefusesWhatItCannotUseInPlace) {
  EXPECT_THAT(
      refusal_of({.method = 8, .is_zip64 = GetParam()}),
      EndsWith("save the checkpoint again: folder/member"));
  EXPECT_THAT(
      refusal_of({.is_zip64 = GetParam(), .stored_bytes = 3}),
      EndsWith("save the checkpoint again: folder/member"));
  EXPECT_THAT(
      refusal_of({.flags = 1, .is_zip64 = GetParam()}),
      EndsWith("an encrypted member, which limn does not read: folder/member"));
}

TEST_P(ZipArchiveTest, RefusesWrongSignatures) {
  EXPECT_THAT(
      refusal_of({.is_zip64 = GetParam(), .central = "PK??"}), HasSubstr("damaged directory"));
  EXPECT_THAT(refusal_of({.is_zip64 = GetParam(), .local = "PK??"}), HasSubstr("damaged member"));
}

INSTANTIATE_TEST_SUITE_P(Sizes, ZipArchiveTest, testing::Bool(), [](const auto& is_zip64) {
  return is_zip64.param ? "Zip64" : "Zip";
});

TEST(Zip64ArchiveTest, RefusesOneWithoutItsRecords) {
  EXPECT_THAT(
      refusal_of({.is_zip64 = true, .zip64_locator = "PK??"}), HasSubstr("without its locator"));
  EXPECT_THAT(refusal_of({.is_zip64 = true, .zip64_end = "PK??"}), HasSubstr("without its end"));
}

TEST(ZipArchiveEndTest, AnEmptyArchiveHasNoMembers) {
  EXPECT_THAT(members("PK\x05\x06" + std::string(18, '\0')), IsEmpty());
}

TEST(ZipArchiveEndTest, EveryShorterFileIsRefused) {
  for (const bool is_zip64 : {false, true}) {
    const std::string whole = OneMember{.is_zip64 = is_zip64}.archive();
    for (std::size_t length = 0; length < whole.size(); ++length)
      EXPECT_THROW(members(whole.substr(0, length)), DataError) << length;
  }
}

}  // namespace

}  // namespace limn::test
