#include "storage/checkpoint.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>
#include <set>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "storage/error.h"
#include "storage/json_file.h"

namespace limn {

namespace {

using nlohmann::json;

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";

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

bool is_git_lfs_pointer(std::span<const std::byte> bytes) {
  constexpr std::string_view kPointer = "version https://git-lfs";
  return bytes.size() >= kPointer.size() &&
         std::memcmp(bytes.data(), kPointer.data(), kPointer.size()) == 0;
}

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
  if (is_git_lfs_pointer(bytes)) {
    throw DataError(
        fmt::format("{}: a Git LFS pointer, not the file; fetch it: git lfs pull", where));
  }
  if (bytes.size() < kLengthBytes) throw_truncated(where, bytes.size(), kLengthBytes);
  std::uint64_t header_bytes = 0;
  for (std::size_t i = 0; i < kLengthBytes; ++i) {
    header_bytes |= std::to_integer<std::uint64_t>(bytes[i]) << (8 * i);
  }
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

// Bytes of a tensor, or nothing when that is more than memory can ever hold.
std::optional<std::uint64_t> shape_bytes(
    std::span<const std::int64_t> shape, std::int64_t element_size) {
  std::int64_t bytes = element_size;
  for (const std::int64_t extent : shape) {
    if (__builtin_mul_overflow(bytes, extent, &bytes)) return std::nullopt;
  }
  return static_cast<std::uint64_t>(bytes);
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
  const auto bytes = shape_bytes(entry.shape, element_bytes(dtype));
  if (bytes != entry.end - entry.begin) {
    throw DataError(fmt::format(
        "{}: a tensor's bytes do not fit its shape {}[{}]: {}",
        where,
        entry.dtype,
        fmt::join(entry.shape, ", "),
        entry.name));
  }
}

// Requires: `path` holds a JSON index. The weight map: tensor -> file, a path inside the folder.
std::map<std::string, std::string> read_weight_map(const std::filesystem::path& path) {
  const json index = read_json(path);
  const auto map = index.is_object() ? index.find("weight_map") : index.end();
  if (map == index.end() || !map->is_object()) {
    throw DataError(fmt::format("{}: must have an object weight_map", path.string()));
  }
  std::map<std::string, std::string> weight_map;
  for (const auto& [name, file] : map->items()) {
    const std::filesystem::path relative = file.is_string() ? file.get<std::string>() : "";
    const bool leaves_folder = relative.is_absolute() ||
                               std::find(relative.begin(), relative.end(), "..") != relative.end();
    if (relative.empty() || leaves_folder) {
      throw DataError(fmt::format(
          "{}: weight_map must name files inside the folder: {}: {}",
          path.string(),
          name,
          file.dump()));
    }
    weight_map.emplace(name, relative.string());
  }
  return weight_map;
}

bool is_there(const std::filesystem::path& path) {
  std::error_code unreadable;  // is not there for us
  return std::filesystem::exists(path, unreadable);
}

MappedFile map_shard(const std::filesystem::path& folder, const std::string& file) {
  const std::filesystem::path path = folder / file;
  if (!is_there(path)) {
    throw IoError(fmt::format("{}: missing, but named by {}; fetch it", path.string(), kIndexFile));
  }
  return MappedFile(path);
}

}  // namespace

std::int64_t element_bytes(StoredDtype dtype) {
  switch (dtype) {
    case StoredDtype::Float64:
    case StoredDtype::Int64:
      return 8;
    case StoredDtype::Float32:
    case StoredDtype::Int32:
      return 4;
    case StoredDtype::Bfloat16:
    case StoredDtype::Float16:
      return 2;
    case StoredDtype::Uint8:
    case StoredDtype::Bool:
      return 1;
  }
  throw InternalError("element_bytes: no such element type");
}

Checkpoint::Checkpoint(const std::filesystem::path& folder) : folder_(folder) {
  if (is_there(folder / kSingleFile)) {
    add_file(kSingleFile, MappedFile(folder / kSingleFile));
    return;
  }
  if (!is_there(folder / kIndexFile)) {
    throw IoError(fmt::format(
        "{}: holds neither {} nor {}; name a Hugging Face checkpoint folder",
        folder.string(),
        kSingleFile,
        kIndexFile));
  }
  const std::map<std::string, std::string> weight_map = read_weight_map(folder / kIndexFile);
  std::set<std::string> files;
  for (const auto& [name, file] : weight_map)
    files.insert(file);
  for (const std::string& file : files)
    add_file(file, map_shard(folder, file));
  for (const auto& [name, file] : weight_map)
    check_is_in(name, file);
}

void Checkpoint::add_file(const std::string& file, MappedFile mapped) {
  const std::string where = (folder_ / file).string();
  const SafetensorsFile parts = split(mapped.bytes(), where);
  const std::vector<HeaderEntry> entries = parse_entries(parse_header(parts.header, where), where);
  check_layout(entries, parts, where);
  for (const HeaderEntry& entry : entries) {
    const auto [other, is_new] = file_of_.emplace(entry.name, file);
    if (!is_new) {
      throw DataError(
          fmt::format("{}: a tensor is also in {}: {}", where, other->second, entry.name));
    }
    const auto dtype = stored_dtype(entry.dtype);
    if (!dtype) {
      unreadable_.emplace(
          entry.name,
          fmt::format(
              "{}: a tensor's type is not supported: {}: {}", where, entry.name, entry.dtype));
      continue;
    }
    check_size(entry, *dtype, where);
    const auto bytes = parts.data.subspan(entry.begin, entry.end - entry.begin);
    tensors_.emplace(entry.name, StoredTensor{*dtype, entry.shape, bytes});
  }
  // A mapping stays where it is when its MappedFile moves.
  files_.push_back(std::move(mapped));
}

void Checkpoint::check_is_in(const std::string& name, const std::string& file) const {
  const auto found = file_of_.find(name);
  if (found == file_of_.end() || found->second != file) {
    throw DataError(fmt::format(
        "{}: has no tensor that {} places there; fetch both again: {}",
        (folder_ / file).string(),
        kIndexFile,
        name));
  }
}

const StoredTensor* Checkpoint::find(std::string_view name) const {
  if (const auto refusal = unreadable_.find(name); refusal != unreadable_.end()) {
    throw DataError(refusal->second);
  }
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> names;
  for (const auto& [name, file] : file_of_)
    names.push_back(name);
  return names;
}

}  // namespace limn
