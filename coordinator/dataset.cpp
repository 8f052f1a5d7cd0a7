#include "coordinator/dataset.h"

#include <algorithm>
#include <array>
#include <limits>
#include <set>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "coordinator/chat_template.h"
#include "coordinator/dataset_files.h"
#include "storage/byte_stream.h"
#include "storage/error.h"
#include "storage/json_file.h"
#include "storage/nearest_name.h"

namespace limn {

namespace {

using nlohmann::json;

constexpr std::array<std::string_view, 15> kKeys = {
    "id",
    "prompt",
    "input_ids",
    "target",
    "target_ids",
    "targets",
    "targets_ids",
    "units",
    "unit_tokens",
    "context",
    "evidence",
    "evidence_box",
    "messages",
    "tools",
    "chat_template_kwargs"};

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

std::vector<std::string> texts_of(const Field& field) {
  constexpr std::string_view kExpected = "a list of at least one string";
  if (field.value.is_array() && field.value.empty()) field.refuse(kExpected);
  return list_of(field, kExpected, text_of);
}

std::vector<std::vector<std::int32_t>> id_lists_of(const Field& field) {
  constexpr std::string_view kExpected = "a list of at least one list of token ids";
  if (field.value.is_array() && field.value.empty()) field.refuse(kExpected);
  return list_of(field, kExpected, ids_of);
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

// One range, or a list of them.
std::vector<CharRange> passages_of(const Field& field) {
  const bool is_one = field.value.is_array() && !field.value.empty() && !field.value[0].is_array();
  if (is_one) return {range_of(field)};
  return list_of(field, "[start, end) in characters, or a list of such", range_of);
}

PixelBox box_of(const Field& field) {
  constexpr std::string_view kExpected = "[x0, y0, x1, y1] in pixels, x0 <= x1 and y0 <= y1";
  const std::vector<std::int32_t> sides = list_of(field, kExpected, count_of);
  if (sides.size() != 4 || sides[0] > sides[2] || sides[1] > sides[3]) field.refuse(kExpected);
  return {sides[0], sides[1], sides[2], sides[3]};
}

// Of a text that is one line.
std::string complaint_of_line(const json::exception& error) {
  std::string complaint = complaint_of(error);
  const std::size_t column = complaint.find("column ");
  return column == std::string::npos ? complaint : complaint.substr(column);
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
        "{}: not JSON, expected an object on one line; mend it: {}",
        where,
        complaint_of_line(error)));
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

// One target, or alternatives.
void check_target(std::string_view where, const json& object, TargetKeys target_keys) {
  constexpr std::array<const char*, 4> kTargets = {
      "target", "target_ids", "targets", "targets_ids"};
  for (std::size_t i = 0; i < kTargets.size(); ++i) {
    for (std::size_t k = i + 1; k < kTargets.size(); ++k)
      refuse_both(where, object, kTargets[i], kTargets[k]);
  }
  const bool has_alternatives = object.contains("targets") || object.contains("targets_ids");
  if (target_keys == TargetKeys::Required && !has_alternatives) {
    require_one(where, object, "target", "target_ids");
  }
}

// Reads `key` with `value_of` if the object has it.
template <typename Value>
auto optional_value(
    std::string_view where, const json& object, const char* key, Value (*value_of)(const Field&)) {
  const auto found = object.find(key);
  if (found == object.end()) return std::optional<Value>();
  return std::optional<Value>(value_of(Field{where, key, *found}));
}

std::vector<EvidenceRecord> evidence_of(std::string_view where, const json& object, bool is_chat) {
  std::vector<EvidenceRecord> evidence;
  if (!is_chat) {
    const auto ranges = optional_value(where, object, "evidence", ranges_of);
    const std::vector<CharRange> none;
    for (const CharRange& range : ranges ? *ranges : none)
      evidence.push_back({.chars = range, .box = {}});
  }
  if (const auto box = optional_value(where, object, "evidence_box", box_of)) {
    evidence.push_back({.chars = {}, .box = *box});
  }
  return evidence;
}

// ---- Conversations ----

// The last one of a person, whose characters ranges count that name no message.
std::optional<std::size_t> last_message_of_user(const TemplateData& messages) {
  for (std::size_t i = messages.size(); i-- > 0;) {
    if (messages[i]["role"] == "user") return i;
  }
  return std::nullopt;
}

void check_messages(std::string_view where, const json& messages) {
  const Field field{where, "messages", messages};
  constexpr std::string_view kExpected = "a list of one or more objects with a role and a content";
  if (!messages.is_array() || messages.empty()) field.refuse(kExpected);
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const Field message = field.element(i);
    const bool has_role = message.value.is_object() && message.value.contains("role") &&
                          message.value["role"].is_string();
    if (!has_role) message.refuse("an object with a role and a content");
  }
}

// [start, end) of the last message of the role user, or {"message": i, "range": [start, end]}.
MessageRange message_range_of(const Field& field, const TemplateData& messages) {
  constexpr std::string_view kExpected =
      "[start, end) in characters of the last message of the user, or {\"message\": number, "
      "\"range\": [start, end]}";
  MessageRange range;
  if (field.value.is_array()) {
    const auto last = last_message_of_user(messages);
    if (!last) field.refuse(kExpected);
    range = {*last, range_of(field)};
  } else {
    const bool is_complete = field.value.is_object() && field.value.size() == 2 &&
                             field.value.contains("message") && field.value.contains("range");
    if (!is_complete) field.refuse(kExpected);
    range.message =
        static_cast<std::size_t>(count_of({field.where, "message", field.value["message"]}));
    range.chars = range_of({field.where, "range", field.value["range"]});
  }
  const bool has_text = range.message < messages.size() &&
                        messages[range.message].contains("content") &&
                        messages[range.message]["content"].is_string();
  if (!has_text) field.refuse("of a message whose content is a string");
  return range;
}

std::optional<std::vector<MessageRange>> message_ranges_of(
    std::string_view where, const json& object, const char* key, const TemplateData& messages) {
  const auto found = object.find(key);
  if (found == object.end()) return std::nullopt;
  return list_of(Field{where, key, *found}, "a list of character ranges", [&](const Field& range) {
    return message_range_of(range, messages);
  });
}

// One range, or a list of them.
std::vector<MessageRange> message_passages_of(
    std::string_view where, const json& object, const TemplateData& messages) {
  const auto found = object.find("context");
  if (found == object.end()) return {};
  const bool is_one =
      found->is_object() || (found->is_array() && !found->empty() && (*found)[0].is_number());
  if (is_one) return {message_range_of(Field{where, "context", *found}, messages)};
  return *message_ranges_of(where, object, "context", messages);
}

// `line` again, for the order of keys, which templates see.
std::shared_ptr<const ChatRecord> chat_of(
    std::string_view where, const json& object, std::string_view line) {
  if (!object.contains("messages")) {
    for (const char* key : {"tools", "chat_template_kwargs"}) {
      if (!object.contains(key)) continue;
      throw DataError(
          fmt::format("{}: a key that only belongs to messages; leave it out: {}", where, key));
    }
    return nullptr;
  }
  check_messages(where, object["messages"]);
  TemplateData ordered = TemplateData::parse(line);
  auto record = std::make_shared<ChatRecord>();
  record->chat.messages = std::move(ordered["messages"]);
  if (object.contains("tools")) {
    const Field tools{where, "tools", object["tools"]};
    if (!tools.value.is_array()) tools.refuse("a list of tools");
    record->chat.tools = std::move(ordered["tools"]);
  }
  if (object.contains("chat_template_kwargs")) {
    const Field variables{where, "chat_template_kwargs", object["chat_template_kwargs"]};
    if (!variables.value.is_object()) variables.refuse("an object");
    record->chat.variables = std::move(ordered["chat_template_kwargs"]);
  }
  const TemplateData& messages = record->chat.messages;
  record->units = message_ranges_of(where, object, "units", messages);
  record->context = message_passages_of(where, object, messages);
  record->evidence =
      message_ranges_of(where, object, "evidence", messages).value_or(std::vector<MessageRange>());
  return record;
}

// Of ranges that are not those of messages.
template <typename Value>
auto unless_chat(
    const std::shared_ptr<const ChatRecord>& chat,
    std::string_view where,
    const json& object,
    const char* key,
    Value (*value_of)(const Field&)) {
  return chat == nullptr ? optional_value(where, object, key, value_of) : std::nullopt;
}

DatasetRecord parse_record(
    std::string_view where, std::string_view line, std::string default_id, TargetKeys target_keys) {
  const json object = parse_object(where, line);
  refuse_unknown_keys(where, object);
  if (object.contains("messages")) {
    refuse_both(where, object, "messages", "prompt");
    refuse_both(where, object, "messages", "input_ids");
  } else {
    require_one(where, object, "prompt", "input_ids");
  }
  check_target(where, object, target_keys);
  refuse_both(where, object, "units", "unit_tokens");
  const auto chat = chat_of(where, object, line);
  return {
      .where = std::string(where),
      .id = optional_value(where, object, "id", id_of).value_or(std::move(default_id)),
      .prompt = optional_value(where, object, "prompt", text_of),
      .input_ids = optional_value(where, object, "input_ids", ids_of),
      .target = optional_value(where, object, "target", text_of),
      .target_ids = optional_value(where, object, "target_ids", ids_of),
      .targets = optional_value(where, object, "targets", texts_of),
      .targets_ids = optional_value(where, object, "targets_ids", id_lists_of),
      .units = unless_chat(chat, where, object, "units", ranges_of),
      .unit_tokens = optional_value(where, object, "unit_tokens", position_lists_of),
      .context = unless_chat(chat, where, object, "context", passages_of)
                     .value_or(std::vector<CharRange>()),
      .evidence = evidence_of(where, object, chat != nullptr),
      .chat = chat};
}

DatasetRecord record_of_question(const SquadTemplate& prompts, const SquadQuestion& question) {
  if (question.mistake) throw DataError(*question.mistake);
  DatasetRecord record{.where = question.where, .id = question.id};
  if (!question.answer) {
    record.skip_reason = fmt::format("{}: the question has no answer", question.where);
    return record;
  }
  SquadPrompt made = prompts.prompt_of(question);
  record.prompt = std::move(made.prompt);
  record.target = std::move(made.target);
  record.context = std::move(made.context);
  for (const CharRange& range : made.evidence)
    record.evidence.push_back({.chars = range, .box = {}});
  return record;
}

// The id of a line that cannot be read as a record, if that much of it can be.
std::optional<std::string> id_of_line(const DatasetEntry& entry, std::string_view line) {
  const json object = json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return std::nullopt;
  try {
    return optional_value(entry.where, object, "id", id_of).value_or(entry.default_id);
  } catch (const DataError&) {
    return std::nullopt;
  }
}

// The entries of one file. Throws what next_entry() throws.
class EntrySource {
 public:
  virtual ~EntrySource() = default;
  virtual bool next(DatasetEntry& entry) = 0;  // all but its index; false at the end
};

class LineEntries : public EntrySource {
 public:
  LineEntries(const DatasetFile& file, bool name_in_id)
      : name_(file.name),
        name_in_id_(name_in_id),
        lines_(file.path) {}

  bool next(DatasetEntry& entry) override {
    std::string line;
    if (!next_line(line)) return false;
    entry.where = fmt::format("{}:{}", name_, line_number_);
    entry.default_id = name_in_id_ ? entry.where : std::to_string(line_number_);
    entry.content = std::move(line);
    return true;
  }

 private:
  // The next line that is not empty. False at the end.
  bool next_line(std::string& line) {
    constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
    while (lines_.next(line)) {
      ++line_number_;
      if (line_number_ == 1 && line.starts_with(kByteOrderMark)) {
        line.erase(0, kByteOrderMark.size());
      }
      // A carriage return before the line's end is white space to JSON.
      if (line.find_first_not_of(" \t\r") != std::string::npos) return true;
    }
    return false;
  }

  std::string name_;
  bool name_in_id_;
  LineReader lines_;
  std::int64_t line_number_ = 0;
};

class QuestionEntries : public EntrySource {
 public:
  explicit QuestionEntries(const DatasetFile& file)
      : questions_(read_squad(file.path, file.name)) {}

  bool next(DatasetEntry& entry) override {
    if (next_ == questions_.size()) return false;
    entry.content = std::move(questions_[next_++]);
    const auto& question = std::get<SquadQuestion>(entry.content);
    entry.where = question.where;
    entry.default_id = question.id;
    return true;
  }

 private:
  std::vector<SquadQuestion> questions_;
  std::size_t next_ = 0;
};

}  // namespace

class DatasetReader::Impl {
 public:
  Impl(const DataOptions& options, TargetKeys target_keys)
      : options_(options),
        target_keys_(target_keys),
        files_(find_dataset_files(options)),
        prompts_(options) {
    check(options.shard == DataShard{}, "a shard that was not looked for");
    if (options.format != "jsonl" && options.format != "squad") {
      throw JobError(fmt::format("data.format must be jsonl or squad: {}", options.format));
    }
    open_next_file();
  }

  std::optional<DatasetEntry> next_entry() {
    while (num_passed_ < options_.skip) {
      DatasetEntry passed;
      if (!read(passed)) return std::nullopt;
      ++num_passed_;
    }
    if (options_.limit > 0 && num_entries_ == options_.limit) return std::nullopt;
    DatasetEntry entry;
    if (!read(entry)) return std::nullopt;
    entry.index = num_entries_++;
    return entry;
  }

  DatasetRecord record_of(const DatasetEntry& entry) const {
    const auto* line = std::get_if<std::string>(&entry.content);
    DatasetRecord record =
        line != nullptr ? parse_record(entry.where, *line, entry.default_id, target_keys_)
                        : record_of_question(prompts_, std::get<SquadQuestion>(entry.content));
    record.index = entry.index;
    return record;
  }

  std::string id_of(const DatasetEntry& entry) const {
    const auto* line = std::get_if<std::string>(&entry.content);
    if (line == nullptr) return entry.default_id;
    return id_of_line(entry, *line).value_or(entry.where);
  }

 private:
  void open_next_file() {
    const DatasetFile& file = files_.files[num_opened_++];
    if (options_.format == "squad") {
      source_ = std::make_unique<QuestionEntries>(file);
    } else {
      source_ = std::make_unique<LineEntries>(file, files_.are_shards);
    }
  }

  // False at the end of the last file. A file that cannot be read is the last one.
  bool read(DatasetEntry& entry) {
    try {
      while (source_ != nullptr && !source_->next(entry)) {
        source_.reset();
        if (num_opened_ < files_.files.size()) open_next_file();
      }
    } catch (...) {
      source_.reset();
      throw;
    }
    return source_ != nullptr;
  }

  DataOptions options_;
  TargetKeys target_keys_;
  DatasetFiles files_;
  SquadTemplate prompts_;
  std::unique_ptr<EntrySource> source_;  // none at the end
  std::size_t num_opened_ = 0;           // files
  std::int64_t num_passed_ = 0;
  std::int64_t num_entries_ = 0;
};

std::size_t DatasetEntry::num_bytes() const {
  if (const auto* line = std::get_if<std::string>(&content)) return line->size();
  const auto& asked = std::get<SquadQuestion>(content);
  return asked.context->size() + asked.question.size();
}

DatasetReader::DatasetReader(const DataOptions& options, TargetKeys target_keys)
    : impl_(std::make_unique<Impl>(options, target_keys)) {}

DatasetReader::~DatasetReader() = default;
DatasetReader::DatasetReader(DatasetReader&&) noexcept = default;
DatasetReader& DatasetReader::operator=(DatasetReader&&) noexcept = default;

std::optional<DatasetEntry> DatasetReader::next_entry() {
  return impl_->next_entry();
}

DatasetRecord DatasetReader::record_of(const DatasetEntry& entry) const {
  return impl_->record_of(entry);
}

std::string DatasetReader::id_of(const DatasetEntry& entry) const {
  return impl_->id_of(entry);
}

std::optional<DatasetRecord> DatasetReader::next() {
  const auto entry = next_entry();
  return entry ? std::optional(record_of(*entry)) : std::nullopt;
}

}  // namespace limn
