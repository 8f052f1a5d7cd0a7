// Values of chat templates, and what Jinja's operators make of them.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <fmt/format.h>

#include "coordinator/template_syntax.h"
#include "storage/error.h"

namespace limn {

// Throws the DataError of a template that cannot be rendered as Jinja would.
template <typename... Args>
[[noreturn]] void refuse_to_render(fmt::format_string<Args...> text, const Args&... values) {
  throw DataError(fmt::format(
      "the chat template cannot be rendered: {}",
      fmt::vformat(text, fmt::make_format_args(values...))));
}

// What has no value; its name is for messages.
struct TemplateUndefined {
  std::string name;
};

class TemplateValue;

// What `namespace()` makes: the one object that a template may alter.
using TemplateMembers = std::map<std::string, TemplateValue>;

// TemplateData is shared by the values that lead to it and is never altered.
class TemplateValue {
 public:
  TemplateValue() : value_(TemplateUndefined{}) {}

  explicit TemplateValue(TemplateUndefined undefined) : value_(std::move(undefined)) {}

  TemplateValue(TemplateData data)
      : value_(std::make_shared<const TemplateData>(std::move(data))) {}

  explicit TemplateValue(std::shared_ptr<const TemplateData> data) : value_(std::move(data)) {}

  explicit TemplateValue(std::shared_ptr<TemplateMembers> members) : value_(std::move(members)) {}

  explicit TemplateValue(const TemplateStatement* macro) : value_(macro) {}

  bool is_undefined() const { return std::holds_alternative<TemplateUndefined>(value_); }

  const TemplateData* find_data() const {
    const auto* data = std::get_if<std::shared_ptr<const TemplateData>>(&value_);
    return data != nullptr ? data->get() : nullptr;
  }

  // Throws DataError when there is none.
  const TemplateData& data() const {
    if (const TemplateData* found = find_data()) return *found;
    if (const auto* undefined = std::get_if<TemplateUndefined>(&value_)) {
      refuse_to_render("{} is not defined", undefined->name);
    }
    refuse_to_render("a namespace or macro is used as a value");
  }

  TemplateMembers* members() const {
    const auto* found = std::get_if<std::shared_ptr<TemplateMembers>>(&value_);
    return found != nullptr ? found->get() : nullptr;
  }

  const TemplateStatement* macro() const {
    const auto* found = std::get_if<const TemplateStatement*>(&value_);
    return found != nullptr ? *found : nullptr;
  }

  // A part of this value's data, which lives as long as the part.
  TemplateValue part(const TemplateData& inner) const {
    return TemplateValue(std::shared_ptr<const TemplateData>(
        std::get<std::shared_ptr<const TemplateData>>(value_), &inner));
  }

 private:
  std::variant<
      TemplateUndefined,
      std::shared_ptr<const TemplateData>,
      std::shared_ptr<TemplateMembers>,
      const TemplateStatement*>
      value_;
};

// All of these throw DataError for values that Python would refuse, or limn has no text for.

bool is_true(const TemplateValue& value);
bool is_number(const TemplateData& data);  // truth values included
std::string type_name(const TemplateData& data);

// `what` names the value in messages.
const std::string& string_of(const TemplateValue& value, std::string_view what);
std::int64_t integer_of(const TemplateValue& value, std::string_view what);

// As Python's str() has it.
std::string text_of(const TemplateValue& value);

// `left name right`.
TemplateData arithmetic(
    const std::string& name, const TemplateValue& left, const TemplateValue& right);
bool compare(const std::string& name, const TemplateValue& left, const TemplateValue& right);
bool contains(const TemplateValue& container, const TemplateValue& value);

// container[key], or container.key; undefined if there is none.
TemplateValue item_of(const TemplateValue& container, const TemplateValue& key);

// value[begin:end:step] of a string or list.
TemplateData slice_of(
    const TemplateValue& value,
    std::optional<std::int64_t> begin,
    std::optional<std::int64_t> end,
    std::int64_t step);

// The characters of UTF-8 text.
std::vector<std::string> characters_of(const std::string& text);

// The elements of what a loop may go over; keys of a dictionary, characters of a string.
std::vector<TemplateValue> elements_of(const TemplateValue& value);

TemplateData list_of(const std::vector<TemplateValue>& values);

// [[key, value], ...] of a dictionary.
TemplateData pairs_of(const TemplateData& dictionary);

}  // namespace limn
