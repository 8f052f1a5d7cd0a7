#include "coordinator/dataset.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <limits>
#include <set>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "storage/error.h"
#include "storage/nearest_name.h"

namespace limn {

namespace {

using nlohmann::json;

constexpr std::array<std::string_view, 9> kKeys = {
    "id",
    "prompt",
    "input_ids",
    "target",
    "target_ids",
    "units",
    "unit_tokens",
    "evidence",
    "evidence_box"};

// The start of `value` in JSON, short enough for a message and ASCII so that it may be cut
// anywhere.
std::string shown(const json& value) {
  constexpr std::size_t kLongest = 60;
  const std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true);
  return text.size() <= kLongest ? text : text.substr(0, kLongest) + "...";
}

// A key's value and where it stands. Borrows: all of it, and the list of an element.
struct Field {
  std::string_view where;
  std::string_view key;  // of the record
  const json& value;
  const Field* list = nullptr;  // whose element `index` this is
  std::size_t index = 0;

  // Requires: the value is an array.
  Field element(std::size_t i) const { return {where, key, value[i], this, i}; }

  // "units[3][0]". Put together only when it is wanted: most values are elements of long lists.
  std::string name() const {
    return list == nullptr ? std::string(key) : fmt::format("{}[{}]", list->name(), index);
  }

  [[noreturn]] void refuse(std::string_view expected) const {
    throw DataError(fmt::format("{}: {} must be {}: {}", where, name(), expected, shown(value)));
  }
};

std::string text_of(const Field& field) {
  if (!field.value.is_string()) field.refuse("a string");
  return field.value.get<std::string>();
}

std::string id_of(const Field& field) {
  if (field.value.is_number_integer()) return field.value.dump();
  if (!field.value.is_string()) field.refuse("a string or an integer");
  std::string id = field.value.get<std::string>();
  // HDF5 ends a string at its first NUL.
  if (id.empty() || id.find('\0') != std::string::npos) {
    field.refuse("a string of at least one character, none of them NUL");
  }
  return id;
}

std::int32_t count_of(const Field& field) {
  // As double every integer of JSON can be compared without wrapping around.
  constexpr double kLargest = std::numeric_limits<std::int32_t>::max();
  const bool fits = field.value.is_number_integer() && field.value.get<double>() >= 0 &&
                    field.value.get<double>() <= kLargest;
  if (!fits) field.refuse("an integer from 0 to 2147483647");
  return field.value.get<std::int32_t>();
}

template <typename Element>
auto list_of(const Field& field, std::string_view expected, Element element_of) {
  if (!field.value.is_array()) field.refuse(expected);
  std::vector<decltype(element_of(field))> list;
  list.reserve(field.value.size());
  for (std::size_t i = 0; i < field.value.size(); ++i) {
    list.push_back(element_of(field.element(i)));
  }
  return list;
}

std::vector<std::int32_t> ids_of(const Field& field) {
  return list_of(field, "a list of token ids", count_of);
}

std::vector<std::vector<std::int32_t>> position_lists_of(const Field& field) {
  return list_of(
      field, "a list with a list of token positions for each unit", [](const Field& unit) {
        return list_of(unit, "a list of token positions", count_of);
      });
}

CharRange range_of(const Field& field) {
  constexpr std::string_view kExpected = "[start, end) in characters, start not after end";
  const std::vector<std::int32_t> bounds = list_of(field, kExpected, count_of);
  if (bounds.size() != 2 || bounds[0] > bounds[1]) field.refuse(kExpected);
  return {bounds[0], bounds[1]};
}

std::vector<CharRange> ranges_of(const Field& field) {
  return list_of(field, "a list of [start, end) character ranges", range_of);
}

PixelBox box_of(const Field& field) {
  constexpr std::string_view kExpected = "[x0, y0, x1, y1] in pixels, x0 <= x1 and y0 <= y1";
  const std::vector<std::int32_t> sides = list_of(field, kExpected, count_of);
  if (sides.size() != 4 || sides[0] > sides[2] || sides[1] > sides[3]) field.refuse(kExpected);
  return {sides[0], sides[1], sides[2], sides[3]};
}

// What nlohmann's parser complains about, without its own name and without quoting the input,
// which may be a whole book on one line.
std::string complaint_of(const json::exception& error) {
  std::string complaint = error.what();
  const std::size_t column = complaint.find("column ");
  complaint.erase(0, column != std::string::npos ? column : complaint.find("] ") + 2);
  return complaint.substr(0, complaint.find("; last read"));
}

json parse_object(std::string_view where, std::string_view line) {
  std::set<std::string> keys;
  const auto refuse_repeated_key = [&](int depth, json::parse_event_t event, json& key) {
    const bool repeated = event == json::parse_event_t::key && depth == 1 &&
                          !keys.insert(key.get<std::string>()).second;
    if (repeated) {
      throw DataError(
          fmt::format("{}: a key is given twice; leave one of them out: {}", where, shown(key)));
    }
    return true;
  };
  json object;
  try {
    object = json::parse(line, refuse_repeated_key);
  } catch (const json::exception& error) {
    throw DataError(fmt::format(
        "{}: not JSON, expected an object on one line; mend it: {}", where, complaint_of(error)));
  }
  if (!object.is_object()) {
    throw DataError(
        fmt::format("{}: expected a JSON object with a prompt: {}", where, shown(object)));
  }
  return object;
}

void refuse_unknown_keys(std::string_view where, const json& object) {
  for (const auto& [key, value] : object.items()) {
    if (std::ranges::find(kKeys, key) != kKeys.end()) continue;
    if (key == "image") {
      throw DataError(fmt::format(
          "{}: this version of limn explains text only; leave the key out: image", where));
    }
    if (const auto nearest = nearest_name(key, kKeys)) {
      throw DataError(fmt::format("{}: unknown key, did you mean {}: {}", where, *nearest, key));
    }
    throw DataError(fmt::format(
        "{}: unknown key, the known ones are {}; leave it out: {}",
        where,
        fmt::join(kKeys, ", "),
        key));
  }
}

// At most one of the two keys may be there.
void refuse_both(std::string_view where, const json& object, const char* key, const char* other) {
  if (!object.contains(key) || !object.contains(other)) return;
  throw DataError(
      fmt::format("{}: {} and {} contradict each other; leave one of them out", where, key, other));
}

void require_one(std::string_view where, const json& object, const char* key, const char* other) {
  refuse_both(where, object, key, other);
  if (object.contains(key) || object.contains(other)) return;
  throw DataError(
      fmt::format("{}: neither {} nor {} is there; give one of them", where, key, other));
}

// Reads `key` with `value_of` if the object has it.
template <typename Value>
auto optional_value(
    std::string_view where, const json& object, const char* key, Value (*value_of)(const Field&)) {
  const auto found = object.find(key);
  if (found == object.end()) return std::optional<Value>();
  return std::optional<Value>(value_of(Field{where, key, *found}));
}

std::vector<EvidenceRecord> evidence_of(std::string_view where, const json& object) {
  std::vector<EvidenceRecord> evidence;
  if (const auto ranges = optional_value(where, object, "evidence", ranges_of)) {
    for (const CharRange& range : *ranges)
      evidence.push_back({.chars = range, .box = {}});
  }
  if (const auto box = optional_value(where, object, "evidence_box", box_of)) {
    evidence.push_back({.chars = {}, .box = *box});
  }
  return evidence;
}

DatasetRecord parse_record(
    std::string_view where, std::string_view line, std::string default_id, TargetKeys target_keys) {
  const json object = parse_object(where, line);
  refuse_unknown_keys(where, object);
  require_one(where, object, "prompt", "input_ids");
  refuse_both(where, object, "target", "target_ids");
  if (target_keys == TargetKeys::Required) require_one(where, object, "target", "target_ids");
  refuse_both(where, object, "units", "unit_tokens");
  return {
      .where = std::string(where),
      .id = optional_value(where, object, "id", id_of).value_or(std::move(default_id)),
      .prompt = optional_value(where, object, "prompt", text_of),
      .input_ids = optional_value(where, object, "input_ids", ids_of),
      .target = optional_value(where, object, "target", text_of),
      .target_ids = optional_value(where, object, "target_ids", ids_of),
      .units = optional_value(where, object, "units", ranges_of),
      .unit_tokens = optional_value(where, object, "unit_tokens", position_lists_of),
      .evidence = evidence_of(where, object)};
}

std::ifstream open_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    throw IoError(fmt::format(
        "{}: cannot open the dataset; check data.path: {}", path.string(), std::strerror(errno)));
  }
  return file;
}

void check_read(const std::ifstream& file, const std::filesystem::path& path) {
  if (file.bad()) {
    throw IoError(fmt::format(
        "{}: cannot read the dataset; check data.path: {}", path.string(), std::strerror(errno)));
  }
}

}  // namespace

class DatasetReader::Impl {
 public:
  Impl(const DataOptions& options, TargetKeys target_keys)
      : path_(options.path),
        limit_(options.limit),
        target_keys_(target_keys) {
    if (options.format != "jsonl") {
      throw JobError(fmt::format("data.format must be jsonl: {}", options.format));
    }
    file_ = open_file(path_);
  }

  std::optional<DatasetRecord> next() {
    if (limit_ > 0 && num_records_ == limit_) return std::nullopt;
    if (!read_line()) return std::nullopt;
    const std::int64_t index = num_records_++;
    const std::string where = fmt::format("{}:{}", path_.filename().string(), line_number_);
    DatasetRecord record = parse_record(where, line_, std::to_string(line_number_), target_keys_);
    record.index = index;
    return record;
  }

 private:
  // Moves on to the next line that is not empty. False at the end.
  bool read_line() {
    constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
    while (std::getline(file_, line_)) {
      ++line_number_;
      if (line_number_ == 1 && line_.starts_with(kByteOrderMark)) {
        line_.erase(0, kByteOrderMark.size());
      }
      // A carriage return before the line's end is white space to JSON.
      if (line_.find_first_not_of(" \t\r") != std::string::npos) return true;
    }
    check_read(file_, path_);
    return false;
  }

  std::filesystem::path path_;
  std::int64_t limit_;
  TargetKeys target_keys_;
  std::ifstream file_;
  std::string line_;
  std::int64_t line_number_ = 0;
  std::int64_t num_records_ = 0;
};

DatasetReader::DatasetReader(const DataOptions& options, TargetKeys target_keys)
    : impl_(std::make_unique<Impl>(options, target_keys)) {}

DatasetReader::~DatasetReader() = default;
DatasetReader::DatasetReader(DatasetReader&&) noexcept = default;
DatasetReader& DatasetReader::operator=(DatasetReader&&) noexcept = default;

std::optional<DatasetRecord> DatasetReader::next() {
  return impl_->next();
}

}  // namespace limn
