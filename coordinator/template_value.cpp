#include "coordinator/template_value.h"

#include <algorithm>
#include <cmath>
#include <compare>

#include "coordinator/code_points.h"

namespace limn {

namespace {

using Data = TemplateData;
using Value = TemplateValue;
using Members = TemplateMembers;
using Undefined = TemplateUndefined;

}  // namespace

bool is_true(const Value& value) {
  const Data* data = value.find_data();
  if (data == nullptr) return !value.is_undefined();
  if (data->is_null()) return false;
  if (data->is_boolean()) return data->get<bool>();
  if (data->is_number()) return data->get<double>() != 0;
  if (data->is_string()) return !data->get_ref<const std::string&>().empty();
  return !data->empty();
}

std::string type_name(const Data& data) {
  return data.type_name();
}

const std::string& string_of(const Value& value, std::string_view what) {
  const Data& data = value.data();
  if (!data.is_string())
    refuse_to_render("{} must be a string, not a value of type {}", what, type_name(data));
  return data.get_ref<const std::string&>();
}

std::int64_t integer_of(const Value& value, std::string_view what) {
  const Data& data = value.data();
  if (data.is_boolean()) return data.get<bool>() ? 1 : 0;
  if (!data.is_number_integer()) {
    refuse_to_render("{} must be an integer, not a value of type {}", what, type_name(data));
  }
  return data.get<std::int64_t>();
}

std::string text_of(const Value& value) {
  if (value.is_undefined()) return "";
  const Data& data = value.data();
  if (data.is_string()) return data.get<std::string>();
  if (data.is_null()) return "None";
  if (data.is_boolean()) return data.get<bool>() ? "True" : "False";
  if (data.is_number()) return data.dump();
  refuse_to_render(
      "a value of type {} is printed, which limn does not do as Python would", type_name(data));
}

bool is_number(const Data& data) {
  return data.is_number() || data.is_boolean();
}

std::vector<std::string> characters_of(const std::string& text) {
  const std::vector<std::int64_t> offsets = code_point_offsets(text);
  std::vector<std::string> characters;
  for (std::size_t i = 0; i + 1 < offsets.size(); ++i)
    characters.push_back(text.substr(offsets[i], offsets[i + 1] - offsets[i]));
  return characters;
}

namespace {

double double_of(const Data& data) {
  return data.is_boolean() ? (data.get<bool>() ? 1 : 0) : data.get<double>();
}

void refuse_overflow(bool overflows) {
  if (overflows) refuse_to_render("a number that is too large");
}

Data integer_result(const std::string& name, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  if (name == "+") {
    refuse_overflow(__builtin_add_overflow(a, b, &result));
    return result;
  }
  if (name == "-") {
    refuse_overflow(__builtin_sub_overflow(a, b, &result));
    return result;
  }
  if (name == "*") {
    refuse_overflow(__builtin_mul_overflow(a, b, &result));
    return result;
  }
  if (b == 0) refuse_to_render("a division by zero");
  if (b == -1) {
    refuse_overflow(__builtin_sub_overflow(std::int64_t{0}, a, &result));
    return name == "%" ? 0 : result;
  }
  // Towards minus infinity, as Python divides.
  const std::int64_t quotient = a / b - ((a % b != 0) && ((a < 0) != (b < 0)) ? 1 : 0);
  return name == "//" ? quotient : a - quotient * b;
}

Data number_result(const std::string& name, const Data& left, const Data& right) {
  if (name == "/" || left.is_number_float() || right.is_number_float()) {
    const double a = double_of(left);
    const double b = double_of(right);
    if (name == "+") return a + b;
    if (name == "-") return a - b;
    if (name == "*") return a * b;
    if (b == 0) refuse_to_render("a division by zero");
    if (name == "/") return a / b;
    if (name == "//") return std::floor(a / b);
    refuse_to_render("{} of fractions is not supported", name);
  }
  return integer_result(name, integer_of(left, "a number"), integer_of(right, "a number"));
}

Data repeated(const std::string& text, std::int64_t times) {
  constexpr std::size_t kMostBytes = 1'000'000;
  std::string result;
  for (; times > 0; --times) {
    result += text;
    if (result.size() > kMostBytes) refuse_to_render("a text is repeated too often");
  }
  return result;
}

}  // namespace

Data arithmetic(const std::string& name, const Value& left, const Value& right) {
  const Data& a = left.data();
  const Data& b = right.data();
  if (is_number(a) && is_number(b)) return number_result(name, a, b);
  if (name == "+" && a.is_string() && b.is_string()) {
    return a.get_ref<const std::string&>() + b.get_ref<const std::string&>();
  }
  if (name == "+" && a.is_array() && b.is_array()) {
    Data both = a;
    both.insert(both.end(), b.begin(), b.end());
    return both;
  }
  if (name == "*" && a.is_string() && b.is_number_integer()) {
    return repeated(a.get_ref<const std::string&>(), b.get<std::int64_t>());
  }
  refuse_to_render(
      "{} of values of types {} and {} is not possible", name, type_name(a), type_name(b));
}

bool contains(const Value& container, const Value& value) {
  const Data& data = container.data();
  if (data.is_string()) {
    return data.get_ref<const std::string&>().find(
               string_of(value, "what is looked for in a string")) != std::string::npos;
  }
  if (data.is_object()) {
    return value.data().is_string() && data.contains(value.data().get_ref<const std::string&>());
  }
  if (!data.is_array()) refuse_to_render("nothing is in a value of type {}", type_name(data));
  return std::ranges::any_of(data, [&](const Data& element) {
    return value.find_data() != nullptr && element == value.data();
  });
}

bool compare(const std::string& name, const Value& left, const Value& right) {
  if (name == "in") return contains(right, left);
  if (name == "not in") return !contains(right, left);
  if (name == "==" || name == "!=") {
    const bool both_are_data = left.find_data() != nullptr && right.find_data() != nullptr;
    const bool equal =
        both_are_data ? left.data() == right.data() : left.is_undefined() && right.is_undefined();
    return equal == (name == "==");
  }
  const Data& a = left.data();
  const Data& b = right.data();
  const bool have_order = (is_number(a) && is_number(b)) || (a.is_string() && b.is_string());
  if (!have_order)
    refuse_to_render(
        "{} of values of types {} and {} is not possible", name, type_name(a), type_name(b));
  // UTF-8 has the order of its code points.
  const auto order =
      a.is_string() ? a.get_ref<const std::string&>().compare(b.get_ref<const std::string&>()) <=> 0
                    : (double_of(a) < double_of(b)   ? std::strong_ordering::less
                       : double_of(a) > double_of(b) ? std::strong_ordering::greater
                                                     : std::strong_ordering::equal);
  if (name == "<") return order < 0;
  if (name == "<=") return order <= 0;
  if (name == ">") return order > 0;
  return order >= 0;
}

namespace {

std::optional<std::size_t> position_of(std::int64_t index, std::size_t size) {
  if (index < 0) index += static_cast<std::int64_t>(size);
  if (index < 0 || index >= static_cast<std::int64_t>(size)) return std::nullopt;
  return static_cast<std::size_t>(index);
}

}  // namespace

Value item_of(const Value& container, const Value& key) {
  if (Members* members = container.members()) {
    const auto found = members->find(string_of(key, "the name of a namespace's member"));
    return found == members->end() ? Value(Undefined{"a member of a namespace"}) : found->second;
  }
  const Data& data = container.data();
  if (key.is_undefined()) return Value(Undefined{"an item"});
  const Data& wanted = key.data();
  if (data.is_object() && wanted.is_string()) {
    const auto found = data.find(wanted.get_ref<const std::string&>());
    if (found == data.end()) return Value(Undefined{wanted.get<std::string>()});
    return container.part(*found);
  }
  if (data.is_array() && wanted.is_number_integer()) {
    const auto position = position_of(wanted.get<std::int64_t>(), data.size());
    return position ? container.part(data[*position]) : Value(Undefined{"an element"});
  }
  if (data.is_string() && wanted.is_number_integer()) {
    const auto characters = characters_of(data.get_ref<const std::string&>());
    const auto position = position_of(wanted.get<std::int64_t>(), characters.size());
    return position ? Value(Data(characters[*position])) : Value(Undefined{"a character"});
  }
  return Value(Undefined{wanted.is_string() ? wanted.get<std::string>() : "an item"});
}

std::vector<Value> elements_of(const Value& value) {
  std::vector<Value> elements;
  if (value.is_undefined()) return elements;
  const Data& data = value.data();
  if (data.is_array()) {
    for (const Data& element : data)
      elements.push_back(value.part(element));
  } else if (data.is_object()) {
    for (const auto& [key, element] : data.items())
      elements.emplace_back(Data(key));
  } else if (data.is_string()) {
    for (std::string& character : characters_of(data.get_ref<const std::string&>()))
      elements.emplace_back(Data(std::move(character)));
  } else {
    refuse_to_render("a value of type {} has no elements", type_name(data));
  }
  return elements;
}

Data list_of(const std::vector<Value>& values) {
  Data list = Data::array();
  for (const Value& value : values)
    list.push_back(value.data());
  return list;
}

Data pairs_of(const Data& dictionary) {
  if (!dictionary.is_object()) refuse_to_render("only a dictionary has items");
  Data pairs = Data::array();
  for (const auto& [key, element] : dictionary.items())
    pairs.push_back(Data::array({key, element}));
  return pairs;
}

namespace {

// The positions that a slice of Python's takes.
std::vector<std::size_t> slice(
    std::size_t size,
    std::optional<std::int64_t> begin,
    std::optional<std::int64_t> end,
    std::int64_t step) {
  if (step == 0) refuse_to_render("a slice with the step 0");
  const auto length = static_cast<std::int64_t>(size);
  const std::int64_t lowest = step > 0 ? 0 : -1;
  const std::int64_t highest = step > 0 ? length : length - 1;
  const auto bounded = [&](std::optional<std::int64_t> at, std::int64_t otherwise) {
    if (!at) return otherwise;
    return std::clamp(*at < 0 ? *at + length : *at, lowest, highest);
  };
  std::int64_t at = bounded(begin, step > 0 ? lowest : highest);
  const std::int64_t stop = bounded(end, step > 0 ? highest : lowest);
  std::vector<std::size_t> positions;
  for (; step > 0 ? at < stop : at > stop; at += step)
    positions.push_back(static_cast<std::size_t>(at));
  return positions;
}

}  // namespace

Data slice_of(
    const Value& value,
    std::optional<std::int64_t> begin,
    std::optional<std::int64_t> end,
    std::int64_t step) {
  const bool is_string = value.data().is_string();
  if (!is_string && !value.data().is_array()) {
    refuse_to_render("a value of type {} has no slices", type_name(value.data()));
  }
  const std::vector<Value> elements = elements_of(value);
  Data list = Data::array();
  std::string text;
  for (const std::size_t position : slice(elements.size(), begin, end, step)) {
    if (is_string) {
      text += text_of(elements[position]);
    } else {
      list.push_back(elements[position].data());
    }
  }
  return is_string ? Data(text) : list;
}

}  // namespace limn
