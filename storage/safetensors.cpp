#include "storage/safetensors.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "storage/byte_reader.h"
#include "storage/error.h"
#include "storage/json_file.h"

namespace limn {

namespace {

using nlohmann::json;

// The file begins with the length of its header, little-endian.
constexpr std::uint64_t kLengthBytes = 8;
// The format's own limit, so that a damaged length does not make anyone parse gigabytes.
constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;

std::optional<StoredDtype> stored_dtype(std::string_view name) {
  if (name == "F64") return StoredDtype::Float64;
  if (name == "F32") return StoredDtype::Float32;
  if (name == "BF16") return StoredDtype::Bfloat16;
  if (name == "F16") return StoredDtype::Float16;
  if (name == "I64") return StoredDtype::Int64;
  if (name == "I32") return StoredDtype::Int32;
  if (name == "U8") return StoredDtype::Uint8;
  if (name == "BOOL") return StoredDtype::Bool;
  return std::nullopt;
}

// A tensor as its file's header describes it: bytes [begin, end) of what follows the header.
struct HeaderEntry {
  std::string name;
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

// A safetensors file cut into its two halves.
struct SafetensorsFile {
  std::string_view header;
  std::span<const std::byte> data;
};

// "498 of 512 MiB", in bytes where MiB would hide the difference.
std::string sizes_text(std::uint64_t actual, std::uint64_t expected) {
  constexpr std::uint64_t kMib = 1 << 20;
  if (actual / kMib == expected / kMib) return fmt::format("{} of {} bytes", actual, expected);
  return fmt::format("{} of {} MiB", actual / kMib, expected / kMib);
}

[[noreturn]] void throw_truncated(
    const std::string& where, std::uint64_t actual, std::uint64_t expected) {
  throw DataError(fmt::format(
      "{}: shorter than its header says; fetch it again: {}", where, sizes_text(actual, expected)));
}

SafetensorsFile split(std::span<const std::byte> bytes, const std::string& where) {
  if (bytes.size() < kLengthBytes) throw_truncated(where, bytes.size(), kLengthBytes);
  const std::uint64_t header_bytes = ByteReader(bytes, where).number(kLengthBytes);
  if (header_bytes > kMaxHeaderBytes) {
    throw DataError(fmt::format(
        "{}: no safetensors file, a header has at most {} bytes: {}",
        where,
        kMaxHeaderBytes,
        header_bytes));
  }
  if (bytes.size() - kLengthBytes < header_bytes) {
    throw_truncated(where, bytes.size(), kLengthBytes + header_bytes);
  }
  const auto header = bytes.subspan(kLengthBytes, header_bytes);
  return {
      {reinterpret_cast<const char*>(header.data()), header.size()},
      bytes.subspan(kLengthBytes + header_bytes)};
}

json parse_header(std::string_view text, const std::string& where) {
  // A JSON object keeps one of two equal keys, so they are noticed while parsing.
  std::set<std::string> names;
  const auto refuse_duplicates = [&](int depth, json::parse_event_t event, json& parsed) {
    if (event == json::parse_event_t::key && depth == 1) {
      const auto& name = parsed.get_ref<const std::string&>();
      if (!names.insert(name).second) {
        throw DataError(fmt::format("{}: header has a tensor twice: {}", where, name));
      }
    }
    return true;
  };
  json header = parse_json(text, where + " (header)", refuse_duplicates);
  if (!header.is_object()) {
    throw DataError(fmt::format("{}: header must be a JSON object", where));
  }
  return header;
}

// The value of `key` as a list of integers that are not negative and fit int64_t.
std::vector<std::int64_t> integer_list(
    const json& entry, const char* key, const std::string& name, const std::string& where) {
  const auto refuse = [&]() {
    throw DataError(fmt::format(
        "{}: {} of a tensor must be a list of integers of at least 0: {}", where, key, name));
  };
  const auto found = entry.find(key);
  if (found == entry.end() || !found->is_array()) refuse();
  std::vector<std::int64_t> values;
  for (const json& value : *found) {
    if (!value.is_number_unsigned()) refuse();
    const auto number = value.get<std::uint64_t>();
    if (number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) refuse();
    values.push_back(static_cast<std::int64_t>(number));
  }
  return values;
}

HeaderEntry parse_entry(const std::string& name, const json& entry, const std::string& where) {
  if (!entry.is_object() || !entry.contains("dtype") || !entry["dtype"].is_string()) {
    throw DataError(fmt::format("{}: header of a tensor has no dtype: {}", where, name));
  }
  const std::vector<std::int64_t> offsets = integer_list(entry, "data_offsets", name, where);
  if (offsets.size() != 2 || offsets[0] > offsets[1]) {
    throw DataError(
        fmt::format("{}: data_offsets of a tensor must be its begin and its end: {}", where, name));
  }
  return {
      .name = name,
      .dtype = entry["dtype"].get<std::string>(),
      .shape = integer_list(entry, "shape", name, where),
      .begin = static_cast<std::uint64_t>(offsets[0]),
      .end = static_cast<std::uint64_t>(offsets[1])};
}

// The entries in the order of their bytes.
std::vector<HeaderEntry> parse_entries(const json& header, const std::string& where) {
  std::vector<HeaderEntry> entries;
  for (const auto& [name, entry] : header.items()) {
    if (name != "__metadata__") entries.push_back(parse_entry(name, entry, where));
  }
  std::sort(entries.begin(), entries.end(), [](const HeaderEntry& left, const HeaderEntry& right) {
    return std::pair(left.begin, left.end) < std::pair(right.begin, right.end);
  });
  return entries;
}

// The tensors lie one behind the other and fill the file: nothing shared, nothing unexplained.
void check_layout(
    std::span<const HeaderEntry> entries, const SafetensorsFile& file, const std::string& where) {
  std::uint64_t expected_begin = 0;
  for (const HeaderEntry& entry : entries) {
    if (entry.begin != expected_begin) {
      throw DataError(fmt::format(
          "{}: {} in front of a tensor: {}",
          where,
          entry.begin < expected_begin ? "an overlap" : "a hole",
          entry.name));
    }
    expected_begin = entry.end;
  }
  const std::uint64_t before_data = kLengthBytes + file.header.size();
  if (file.data.size() < expected_begin) {
    throw_truncated(where, before_data + file.data.size(), before_data + expected_begin);
  }
  if (file.data.size() > expected_begin) {
    throw DataError(fmt::format(
        "{}: longer than its header says; fetch it again: {} of {} bytes",
        where,
        before_data + file.data.size(),
        before_data + expected_begin));
  }
}

void check_size(const HeaderEntry& entry, StoredDtype dtype, const std::string& where) {
  const auto bytes = tensor_bytes(entry.shape, dtype);
  if (!bytes || static_cast<std::uint64_t>(*bytes) != entry.end - entry.begin) {
    throw DataError(fmt::format(
        "{}: a tensor's bytes do not fit its shape {}[{}]: {}",
        where,
        entry.dtype,
        fmt::join(entry.shape, ", "),
        entry.name));
  }
}

// Requires: the entry's bytes are inside `data`.
FileTensor read_tensor(
    const HeaderEntry& entry, std::span<const std::byte> data, const std::string& where) {
  FileTensor read;
  read.name = entry.name;
  const auto dtype = stored_dtype(entry.dtype);
  if (!dtype) {
    read.refusal =
        fmt::format("{}: a tensor's type is not supported: {}: {}", where, entry.name, entry.dtype);
    return read;
  }
  check_size(entry, *dtype, where);
  read.tensor =
      StoredTensor{*dtype, entry.shape, data.subspan(entry.begin, entry.end - entry.begin)};
  return read;
}

}  // namespace

std::vector<FileTensor> read_safetensors(
    std::span<const std::byte> file, const std::string& where) {
  const SafetensorsFile parts = split(file, where);
  const std::vector<HeaderEntry> entries = parse_entries(parse_header(parts.header, where), where);
  check_layout(entries, parts, where);
  std::vector<FileTensor> tensors;
  for (const HeaderEntry& entry : entries)
    tensors.push_back(read_tensor(entry, parts.data, where));
  return tensors;
}

}  // namespace limn
