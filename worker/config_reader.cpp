#include "worker/config_reader.h"

#include <algorithm>
#include <cmath>

#include "storage/error.h"

namespace limn {

const nlohmann::json* ConfigReader::find(std::string_view key) const {
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

bool ConfigReader::is_null(std::string_view key) const {
  const auto found = object_.find(key);
  return found != object_.end() && found->is_null();
}

void ConfigReader::refuse(std::string_view key, std::string_view complaint) const {
  throw DataError(fmt::format("{}: {}{} {}", file_, prefix_, key, complaint));
}

std::int64_t ConfigReader::size(std::string_view key) const {
  if (!has(key)) refuse(key, "is missing; fetch the checkpoint's config.json again");
  return size_or(key, 0);
}

std::int64_t ConfigReader::size_or(std::string_view key, std::int64_t absent) const {
  const nlohmann::json* const value = find(key);
  if (value == nullptr) return absent;
  // Larger than any model and small enough that products of two sizes cannot overflow.
  constexpr std::int64_t kLargest = std::int64_t{1} << 31;
  const bool is_size = value->is_number_integer() && value->get<std::int64_t>() >= 1 &&
                       value->get<std::int64_t>() <= kLargest;
  if (!is_size) refuse(key, "must be a whole number of at least 1: " + value->dump());
  return value->get<std::int64_t>();
}

double ConfigReader::positive(std::string_view key) const {
  if (!has(key)) refuse(key, "is missing; fetch the checkpoint's config.json again");
  return positive_or(key, 0);
}

double ConfigReader::positive_or(std::string_view key, double absent) const {
  const nlohmann::json* const value = find(key);
  if (value == nullptr) return absent;
  const bool is_positive =
      value->is_number() && value->get<double>() > 0 && std::isfinite(value->get<double>());
  if (!is_positive) refuse(key, "must be a number greater than 0: " + value->dump());
  return value->get<double>();
}

std::int64_t ConfigReader::count_or(std::string_view key, std::int64_t absent) const {
  const nlohmann::json* const value = find(key);
  if (value != nullptr && value->is_number_integer() && value->get<std::int64_t>() == 0) return 0;
  return size_or(key, absent);
}

bool ConfigReader::flag_or(std::string_view key, bool absent) const {
  const nlohmann::json* const value = find(key);
  if (value == nullptr) return absent;
  if (!value->is_boolean()) refuse(key, "must be true or false: " + value->dump());
  return value->get<bool>();
}

std::string ConfigReader::text_or(std::string_view key, std::string_view absent) const {
  const nlohmann::json* const value = find(key);
  if (value == nullptr) return std::string(absent);
  if (!value->is_string()) refuse(key, "must be a string: " + value->dump());
  return value->get<std::string>();
}

namespace {

template <typename Value>
std::vector<Value> list_of(
    const ConfigReader& config,
    const nlohmann::json* list,
    std::string_view key,
    bool (nlohmann::json::*is_value)() const noexcept,
    std::string_view what) {
  if (list == nullptr) return {};
  const auto is_right = [&](const nlohmann::json& value) { return (value.*is_value)(); };
  if (!list->is_array() || !std::ranges::all_of(*list, is_right)) {
    config.refuse(key, fmt::format("must be a list of {}", what));
  }
  return list->get<std::vector<Value>>();
}

}  // namespace

std::vector<double> ConfigReader::numbers(std::string_view key) const {
  return list_of<double>(*this, find(key), key, &nlohmann::json::is_number, "numbers");
}

std::vector<std::string> ConfigReader::texts(std::string_view key) const {
  return list_of<std::string>(*this, find(key), key, &nlohmann::json::is_string, "strings");
}

std::vector<std::int64_t> ConfigReader::counts(std::string_view key) const {
  return list_of<std::int64_t>(
      *this, find(key), key, &nlohmann::json::is_number_integer, "whole numbers");
}

std::string_view ConfigReader::spelling(std::initializer_list<std::string_view> keys) const {
  const auto* const found =
      std::ranges::find_if(keys, [&](std::string_view key) { return has(key); });
  return found == keys.end() ? *keys.begin() : *found;
}

std::optional<ConfigReader> ConfigReader::object(std::string_view key) const {
  const nlohmann::json* const value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_object()) refuse(key, "must be an object: " + value->dump());
  return ConfigReader(*value, file_, fmt::format("{}{}.", prefix_, key));
}

}  // namespace limn
