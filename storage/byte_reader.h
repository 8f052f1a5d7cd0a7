// Numbers and texts of a binary format, read one after the other and never past the end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace limn {

// Borrows: the bytes. Every call throws DataError, beginning with `where`, when fewer bytes are
// left than it needs. Threads: one thread at a time.
class ByteReader {
 public:
  ByteReader(std::span<const std::byte> bytes, std::string where);

  // Little-endian and unsigned. Requires: `width` is from 1 to 8 bytes.
  std::uint64_t number(std::int64_t width);

  std::span<const std::byte> bytes(std::uint64_t length);
  std::string_view text(std::uint64_t length);

  // The text up to the next line feed, which is read, too.
  std::string_view line();

 private:
  std::span<const std::byte> rest_;
  std::string where_;
};

}  // namespace limn
