// Values as bytes, for letters between ranks of one run (and of one architecture). A record's
// fields are listed once, for writing and reading alike:
//
//   constexpr auto kFields = [](auto& bytes, auto& record) {
//     bytes.value(record.id);
//     bytes.values(record.tokens);
//   };
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "storage/error.h"

namespace limn {

// Appends values.
class ByteWriter {
 public:
  template <typename Value>
  void value(const Value& value) {
    static_assert(std::is_trivially_copyable_v<Value>);
    append(&value, sizeof value);
  }

  template <typename Value>
  void values(const std::vector<Value>& values) {
    static_assert(std::is_trivially_copyable_v<Value>);
    value(values.size());
    append(values.data(), values.size() * sizeof(Value));
  }

  void text(const std::string& text) {
    value(text.size());
    append(text.data(), text.size());
  }

  template <typename Value>
  void optional(const std::optional<Value>& optional) {
    value(std::uint8_t{optional.has_value()});
    value(optional.value_or(Value{}));
  }

  // Records with fields of their own, which `fields_of(record)` lists: at least 8 bytes each.
  template <typename Record, typename FieldsOf>
  void records(const std::vector<Record>& records, const FieldsOf& fields_of) {
    value(records.size());
    for (const Record& record : records)
      fields_of(record);
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
  void value(Value& value) {
    static_assert(std::is_trivially_copyable_v<Value>);
    take(&value, 1, sizeof value);
  }

  template <typename Value>
  void values(std::vector<Value>& values) {
    values.resize(count(sizeof(Value)));
    take(values.data(), values.size(), sizeof(Value));
  }

  void text(std::string& text) {
    text.resize(count(1));
    take(text.data(), text.size(), 1);
  }

  template <typename Value>
  void optional(std::optional<Value>& optional) {
    std::uint8_t is_there = 0;
    Value read{};
    value(is_there);
    value(read);
    if (is_there != 0) optional = read;
  }

  template <typename Record, typename FieldsOf>
  void records(std::vector<Record>& records, const FieldsOf& fields_of) {
    constexpr std::size_t kLeastBytes = 8;
    records.resize(count(kLeastBytes));
    for (Record& record : records)
      fields_of(record);
  }

  void expect_end() const { check(rest_.empty(), "{} bytes too many in a letter", rest_.size()); }

 private:
  // A number of things that take at least `least_bytes` each, so that bad bytes cannot ask for more
  // memory than they have.
  std::size_t count(std::size_t least_bytes) {
    std::size_t count = 0;
    value(count);
    check(count <= rest_.size() / least_bytes, "a letter that promises {} items", count);
    return count;
  }

  void take(void* data, std::size_t count, std::size_t size) {
    check(count * size <= rest_.size(), "a letter that ends early");
    if (count > 0) std::memcpy(data, rest_.data(), count * size);
    rest_ = rest_.subspan(count * size);
  }

  std::span<const std::byte> rest_;
};

template <typename Record, typename Fields>
std::vector<std::byte> bytes_of(const Record& record, const Fields& fields) {
  ByteWriter writer;
  fields(writer, record);
  return writer.take();
}

// Throws as ByteReader, and when there are more bytes than fields.
template <typename Record, typename Fields>
Record record_of(std::span<const std::byte> bytes, const Fields& fields) {
  ByteReader reader(bytes);
  Record record;
  fields(reader, record);
  reader.expect_end();
  return record;
}

}  // namespace limn
