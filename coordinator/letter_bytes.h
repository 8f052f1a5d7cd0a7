// Values as bytes, for letters between ranks of one run (and of one architecture).
#pragma once

#include <cstddef>
#include <cstring>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "storage/error.h"

namespace limn {

// Appends values.
class ByteWriter {
 public:
  template <typename Value>
  void put(const Value& value) {
    static_assert(std::is_trivially_copyable_v<Value>);
    append(&value, sizeof value);
  }

  template <typename Value>
  void put(const std::vector<Value>& values) {
    static_assert(std::is_trivially_copyable_v<Value>);
    put(values.size());
    append(values.data(), values.size() * sizeof(Value));
  }

  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  void append(const void* data, std::size_t size) {
    const auto* const begin = static_cast<const std::byte*>(data);
    bytes_.insert(bytes_.end(), begin, begin + size);
  }

  std::vector<std::byte> bytes_;
};

// Takes them in the same order. Throws InternalError when the bytes end early or promise more than
// they have. Borrows: the bytes.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : rest_(bytes) {}

  template <typename Value>
  void get(Value& value) {
    static_assert(std::is_trivially_copyable_v<Value>);
    take(&value, 1, sizeof value);
  }

  template <typename Value>
  void get(std::vector<Value>& values) {
    values.resize(get_count(sizeof(Value)));
    take(values.data(), values.size(), sizeof(Value));
  }

  // A number of things that take at least `least_bytes` each, so that bad bytes cannot ask for more
  // memory than they have.
  std::size_t get_count(std::size_t least_bytes) {
    std::size_t count = 0;
    get(count);
    check(count <= rest_.size() / least_bytes, "a letter that promises {} items", count);
    return count;
  }

  void expect_end() const { check(rest_.empty(), "{} bytes too many in a letter", rest_.size()); }

 private:
  void take(void* data, std::size_t count, std::size_t size) {
    check(count * size <= rest_.size(), "a letter that ends early");
    if (count > 0) std::memcpy(data, rest_.data(), count * size);
    rest_ = rest_.subspan(count * size);
  }

  std::span<const std::byte> rest_;
};

}  // namespace limn
