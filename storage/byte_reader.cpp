#include "storage/byte_reader.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "storage/error.h"

namespace limn {

ByteReader::ByteReader(std::span<const std::byte> bytes, std::string where)
    : rest_(bytes),
      where_(std::move(where)) {}

std::uint64_t ByteReader::number(std::int64_t width) {
  std::uint64_t value = 0;
  int shift = 0;
  for (const std::byte byte : bytes(static_cast<std::uint64_t>(width))) {
    value |= std::to_integer<std::uint64_t>(byte) << shift;
    shift += 8;
  }
  return value;
}

std::span<const std::byte> ByteReader::bytes(std::uint64_t length) {
  if (length > rest_.size()) {
    throw DataError(fmt::format(
        "{}: ends too early; fetch it again: {} of {} bytes", where_, rest_.size(), length));
  }
  const auto taken = rest_.first(length);
  rest_ = rest_.subspan(length);
  return taken;
}

std::string_view ByteReader::text(std::uint64_t length) {
  const auto taken = bytes(length);
  return {reinterpret_cast<const char*>(taken.data()), taken.size()};
}

std::string_view ByteReader::line() {
  const auto feed = std::find(rest_.begin(), rest_.end(), std::byte{'\n'});
  const std::string_view line = text(static_cast<std::uint64_t>(feed - rest_.begin()));
  bytes(1);
  return line;
}

}  // namespace limn
