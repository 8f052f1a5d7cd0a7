#include "storage/zip_archive.h"

#include <algorithm>
#include <cstdint>
#include <limits>

#include <fmt/format.h>

#include "storage/byte_reader.h"
#include "storage/error.h"

namespace limn {

namespace {

// The names are those of the format's specification, APPNOTE.TXT 6.3.
constexpr std::uint64_t kLocalHeader = 0x04034b50;
constexpr std::uint64_t kCentralHeader = 0x02014b50;
constexpr std::uint64_t kEnd = 0x06054b50;
constexpr std::uint64_t kZip64End = 0x06064b50;
constexpr std::uint64_t kZip64Locator = 0x07064b50;

constexpr std::uint64_t kEndBytes = 22;
constexpr std::uint64_t kZip64LocatorBytes = 20;
constexpr std::uint64_t kMaxCommentBytes = std::numeric_limits<std::uint16_t>::max();

// What stands for a number that is in a zip64 record instead.
constexpr std::uint64_t kElsewhere16 = std::numeric_limits<std::uint16_t>::max();
constexpr std::uint64_t kElsewhere32 = std::numeric_limits<std::uint32_t>::max();

constexpr std::uint64_t kZip64Extra = 0x0001;
constexpr std::uint64_t kEncryptedFlag = 1;
constexpr std::uint64_t kStored = 0;

// Where the central directory lies, and how many members it lists.
struct Directory {
  std::uint64_t num_members = 0;
  std::uint64_t bytes = 0;
  std::uint64_t offset = 0;
};

// A member as the central directory describes it.
struct CentralHeader {
  std::string_view name;
  std::uint64_t flags = 0;
  std::uint64_t method = 0;
  std::uint64_t stored_bytes = 0;
  std::uint64_t bytes = 0;
  std::uint64_t local_offset = 0;
};

class ZipReader {
 public:
  ZipReader(std::span<const std::byte> archive, const std::string& where)
      : archive_(archive),
        where_(where) {}

  std::vector<ZipMember> members() const {
    const Directory directory = find_directory();
    ByteReader headers(slice(directory.offset, directory.bytes), where_ + " (directory)");
    std::vector<ZipMember> members;
    // The count is not trusted with a reservation: each round needs bytes that are there.
    for (std::uint64_t i = 0; i < directory.num_members; ++i)
      members.push_back(locate(read_central_header(headers)));
    return members;
  }

 private:
  [[noreturn]] void refuse(std::string_view problem) const {
    throw DataError(fmt::format("{}: {}; fetch it again", where_, problem));
  }

  std::span<const std::byte> slice(std::uint64_t offset, std::uint64_t length) const {
    if (offset > archive_.size() || length > archive_.size() - offset) {
      throw DataError(fmt::format(
          "{}: a zip archive that names bytes past its end; fetch it again: {} from {} of {} bytes",
          where_,
          length,
          offset,
          archive_.size()));
    }
    return archive_.subspan(offset, length);
  }

  ByteReader reader_at(std::uint64_t offset) const {
    return {
        slice(offset, archive_.size() - std::min<std::uint64_t>(offset, archive_.size())), where_};
  }

  Directory find_directory() const {
    const std::uint64_t end = find_end();
    ByteReader record = reader_at(end);
    record.bytes(10);  // signature, numbers of disks, members on this disk
    Directory directory;
    directory.num_members = record.number(2);
    directory.bytes = record.number(4);
    directory.offset = record.number(4);
    const bool is_zip64 = directory.num_members == kElsewhere16 ||
                          directory.bytes == kElsewhere32 || directory.offset == kElsewhere32;
    return is_zip64 ? find_zip64_directory(end) : directory;
  }

  // The end record is followed by a comment of the length that it names, and by nothing else.
  std::uint64_t find_end() const {
    for (std::uint64_t comment = 0; comment <= kMaxCommentBytes; ++comment) {
      if (archive_.size() < kEndBytes + comment) break;
      const std::uint64_t end = archive_.size() - kEndBytes - comment;
      ByteReader record = reader_at(end);
      if (record.number(4) != kEnd) continue;
      record.bytes(16);
      if (record.number(2) == comment) return end;
    }
    refuse("no zip archive, or one without its end");
  }

  Directory find_zip64_directory(std::uint64_t end) const {
    if (end < kZip64LocatorBytes) refuse("a zip64 archive without its locator");
    ByteReader locator = reader_at(end - kZip64LocatorBytes);
    if (locator.number(4) != kZip64Locator) refuse("a zip64 archive without its locator");
    locator.bytes(4);  // number of a disk
    ByteReader record = reader_at(locator.number(8));
    if (record.number(4) != kZip64End) refuse("a zip64 archive without its end");
    record.bytes(28);  // size of the record, versions, numbers of disks, members on this disk
    Directory directory;
    directory.num_members = record.number(8);
    directory.bytes = record.number(8);
    directory.offset = record.number(8);
    return directory;
  }

  CentralHeader read_central_header(ByteReader& headers) const {
    if (headers.number(4) != kCentralHeader) refuse("a zip archive with a damaged directory");
    headers.bytes(4);  // versions
    CentralHeader header;
    header.flags = headers.number(2);
    header.method = headers.number(2);
    headers.bytes(8);  // time, date, checksum
    header.stored_bytes = headers.number(4);
    header.bytes = headers.number(4);
    const std::uint64_t name_bytes = headers.number(2);
    const std::uint64_t extra_bytes = headers.number(2);
    const std::uint64_t comment_bytes = headers.number(2);
    headers.bytes(8);  // number of a disk, attributes
    header.local_offset = headers.number(4);
    header.name = headers.text(name_bytes);
    read_zip64_extra(headers.bytes(extra_bytes), header);
    headers.bytes(comment_bytes);
    return header;
  }

  // The numbers that did not fit, in this order, each only if it did not.
  void read_zip64_extra(std::span<const std::byte> extra, CentralHeader& header) const {
    ByteReader fields(extra, fmt::format("{} (extra fields of {})", where_, header.name));
    std::uint64_t left = extra.size();
    while (left >= 4) {
      const std::uint64_t id = fields.number(2);
      const std::uint64_t length = fields.number(2);
      ByteReader field(fields.bytes(length), where_);
      left -= 4 + length;
      if (id != kZip64Extra) continue;
      if (header.bytes == kElsewhere32) header.bytes = field.number(8);
      if (header.stored_bytes == kElsewhere32) header.stored_bytes = field.number(8);
      if (header.local_offset == kElsewhere32) header.local_offset = field.number(8);
    }
  }

  ZipMember locate(const CentralHeader& header) const {
    if ((header.flags & kEncryptedFlag) != 0) {
      throw DataError(fmt::format(
          "{}: an encrypted member, which limn does not read: {}", where_, header.name));
    }
    if (header.method != kStored || header.stored_bytes != header.bytes) {
      throw DataError(fmt::format(
          "{}: a compressed member, which torch does not write; save the checkpoint again: {}",
          where_,
          header.name));
    }
    // The directory has the sizes, but only the member's own header says how long it is itself.
    constexpr std::uint64_t kLocalHeaderBytes = 30;
    ByteReader local(slice(header.local_offset, kLocalHeaderBytes), where_);
    if (local.number(4) != kLocalHeader) refuse("a zip archive with a damaged member");
    local.bytes(22);  // what the directory says, too
    const std::uint64_t before_bytes = local.number(2) + local.number(2) + kLocalHeaderBytes;
    // No overflow: the header was inside the archive, and `before_bytes` has 18 bits.
    return {header.name, slice(header.local_offset + before_bytes, header.bytes)};
  }

  std::span<const std::byte> archive_;
  const std::string& where_;
};

}  // namespace

std::vector<ZipMember> zip_members(std::span<const std::byte> archive, const std::string& where) {
  return ZipReader(archive, where).members();
}

}  // namespace limn
