#include "coordinator/checked_json.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "storage/error.h"

namespace limn {

namespace {

// The value as it stands in the file, cut where it gets too long for a message.
std::string shown(const nlohmann::json& value) {
  constexpr std::size_t kLongest = 80;
  // Not dumped: that recurses, and how deep is up to the file.
  if (value.is_structured()) return fmt::format("{} of {}", value.type_name(), value.size());
  const auto replace = nlohmann::json::error_handler_t::replace;
  const std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true, replace);
  return text.size() <= kLongest ? text : text.substr(0, kLongest) + "...";
}

}  // namespace

CheckedJson::CheckedJson(const nlohmann::json& document, std::string file)
    : CheckedJson(document, std::move(file), "") {}

CheckedJson::CheckedJson(const nlohmann::json& value, std::string file, std::string key)
    : value_(&value),
      file_(std::move(file)),
      key_(std::move(key)) {}

CheckedJson CheckedJson::inner(const nlohmann::json& value, std::string_view step) const {
  const std::string_view dot = key_.empty() || step.starts_with('[') ? "" : ".";
  return CheckedJson(value, file_, fmt::format("{}{}{}", key_, dot, step));
}

CheckedJson CheckedJson::at(const std::string& key) const {
  if (!value_->is_object()) refuse("must be an object");
  const auto found = value_->find(key);
  if (found == value_->end()) inner(*value_, key).refuse("is missing");
  return inner(*found, key);
}

std::optional<CheckedJson> CheckedJson::find(const std::string& key) const {
  if (!value_->is_object()) refuse("must be an object");
  const auto found = value_->find(key);
  if (found == value_->end() || found->is_null()) return std::nullopt;
  return inner(*found, key);
}

std::vector<CheckedJson> CheckedJson::elements() const {
  if (!value_->is_array()) refuse("must be an array");
  std::vector<CheckedJson> result;
  for (const nlohmann::json& element : *value_) {
    result.push_back(inner(element, fmt::format("[{}]", result.size())));
  }
  return result;
}

const std::string& CheckedJson::string() const {
  if (!value_->is_string()) refuse("must be a string");
  return value_->get_ref<const std::string&>();
}

bool CheckedJson::boolean() const {
  if (!value_->is_boolean()) refuse("must be true or false");
  return value_->get<bool>();
}

std::int64_t CheckedJson::integer() const {
  const bool too_large = value_->is_number_unsigned() && value_->get<std::uint64_t>() > INT64_MAX;
  if (!value_->is_number_integer() || too_large) refuse("must be an integer");
  return value_->get<std::int64_t>();
}

void CheckedJson::allow_keys(std::initializer_list<std::string_view> known) const {
  if (!value_->is_object()) refuse("must be an object");
  for (const auto& [key, value] : value_->items()) {
    const bool is_known = std::find(known.begin(), known.end(), key) != known.end();
    if (!is_known) inner(value, key).refuse("is not supported");
  }
}

void CheckedJson::refuse(std::string_view problem) const {
  throw DataError(fmt::format(
      "{}: {} {}: {}", file_, key_.empty() ? "the document" : key_, problem, shown(*value_)));
}

}  // namespace limn
