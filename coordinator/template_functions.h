// The filters, tests and methods of chat templates that limn knows.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "coordinator/template_value.h"

namespace limn {

// Of a function, filter or test: by position, then by name.
class TemplateArguments {
 public:
  TemplateArguments(
      std::string name, std::vector<TemplateValue> values, std::vector<std::string> names)
      : name_(std::move(name)),
        values_(std::move(values)),
        names_(std::move(names)) {}

  std::size_t num_positional() const { return values_.size() - names_.size(); }

  // The one at this position, or of this name.
  std::optional<TemplateValue> find(std::size_t position, std::string_view name) {
    if (position < num_positional()) {
      num_used_ = std::max(num_used_, position + 1);
      return values_[position];
    }
    const auto found = std::ranges::find(names_, name);
    if (found == names_.end()) return std::nullopt;
    ++num_named_used_;
    return values_[num_positional() + static_cast<std::size_t>(found - names_.begin())];
  }

  TemplateValue get(std::size_t position, std::string_view name) {
    if (auto found = find(position, name)) return *std::move(found);
    refuse_to_render("{} lacks its argument {}", name_, name);
  }

  std::int64_t integer(std::size_t position, std::string_view name, std::int64_t otherwise) {
    const auto found = find(position, name);
    return found ? integer_of(*found, name) : otherwise;
  }

  // Refuses what nothing asked for.
  void expect_no_more() const {
    if (num_used_ < num_positional() || num_named_used_ < names_.size()) {
      refuse_to_render("{} has an argument that limn does not know", name_);
    }
  }

  const std::vector<TemplateValue>& values() const { return values_; }

  const std::vector<std::string>& names() const { return names_; }

 private:
  std::string name_;
  std::vector<TemplateValue> values_;
  std::vector<std::string> names_;
  std::size_t num_used_ = 0;
  std::size_t num_named_used_ = 0;
};

// object.name(arguments). Nothing if limn does not know the method.
std::optional<TemplateValue> method_result(
    const TemplateValue& object, const std::string& name, TemplateArguments& arguments);

// value is name(arguments). Throws DataError if limn does not know the test.
bool test_holds(const std::string& name, const TemplateValue& value, TemplateArguments& arguments);

// value | name(arguments). Throws DataError if limn does not know the filter.
TemplateValue filter_result(
    const std::string& name, const TemplateValue& value, TemplateArguments& arguments);

}  // namespace limn
