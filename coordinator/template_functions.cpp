#include "coordinator/template_functions.h"

#include <unicode/locid.h>
#include <unicode/unistr.h>

#include "coordinator/code_points.h"
#include "coordinator/white_space.h"

namespace limn {

namespace {

using Data = TemplateData;
using Value = TemplateValue;
using Members = TemplateMembers;
using Undefined = TemplateUndefined;
using Arguments = TemplateArguments;

// ---- JSON, as Python's json.dumps writes it with ensure_ascii=False ----

void write_json_string(const std::string& text, std::string& json) {
  json += '"';
  for (const char c : text) {
    constexpr std::string_view kEscaped = "\"\\\n\r\t\b\f";
    constexpr std::string_view kLetters = "\"\\nrtbf";
    if (const std::size_t known = kEscaped.find(c); known != std::string_view::npos) {
      json += '\\';
      json += kLetters[known];
    } else if (static_cast<unsigned char>(c) < 0x20) {
      json += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      json += c;
    }
  }
  json += '"';
}

struct JsonLayout {
  std::optional<std::int64_t> indent;  // none: on one line
  bool sort_keys = false;
};

void write_json(const Data& data, const JsonLayout& layout, std::size_t depth, std::string& json) {
  if (depth > 100) refuse_to_render("a value for tojson is nested too deeply");
  const auto begin_line = [&](std::size_t at) {
    if (layout.indent)
      json += "\n" + std::string(at * static_cast<std::size_t>(*layout.indent), ' ');
  };
  const std::string_view comma = layout.indent ? "," : ", ";
  bool is_first = true;
  const auto begin_element = [&] {
    if (!is_first) json += comma;
    is_first = false;
    begin_line(depth + 1);
  };
  if (data.is_string()) return write_json_string(data.get_ref<const std::string&>(), json);
  if (!data.is_structured() || data.empty()) {
    json += data.dump();
    return;
  }
  json += data.is_array() ? '[' : '{';
  if (data.is_array()) {
    for (const Data& element : data) {
      begin_element();
      write_json(element, layout, depth + 1, json);
    }
  } else {
    std::vector<std::pair<std::string, const Data*>> items;
    for (const auto& [key, element] : data.items())
      items.emplace_back(key, &element);
    if (layout.sort_keys) std::ranges::sort(items);
    for (const auto& [key, element] : items) {
      begin_element();
      write_json_string(key, json);
      json += ": ";
      write_json(*element, layout, depth + 1, json);
    }
  }
  begin_line(depth);
  json += data.is_array() ? ']' : '}';
}
// ---- Strings, as Python has them ----

enum class Side { Left, Right, Both };

// Without the characters of `set` at its ends; nothing: white space.
std::string stripped(const std::string& text, const std::optional<std::string>& set, Side side) {
  const std::u32string taken = set ? code_points(*set) : std::u32string();
  const auto goes = [&](char32_t character) {
    return set ? taken.find(character) != std::u32string::npos : is_white_space(character);
  };
  std::size_t begin = 0;
  std::size_t end = text.size();
  while (side != Side::Right && begin < end) {
    std::size_t next = begin;
    if (!goes(next_code_point(text, next))) break;
    begin = next;
  }
  while (side != Side::Left && begin < end) {
    std::size_t last = end;
    if (!goes(previous_code_point(text, last))) break;
    end = last;
  }
  return text.substr(begin, end - begin);
}

// `most`: how many times at most; below 0: always.
Data split(const std::string& text, const std::string& separator, std::int64_t most) {
  if (separator.empty()) refuse_to_render("split needs a separator that is not empty");
  Data parts = Data::array();
  std::size_t begin = 0;
  for (std::size_t end = text.find(separator); end != std::string::npos && most != 0; --most) {
    parts.push_back(text.substr(begin, end - begin));
    begin = end + separator.size();
    end = text.find(separator, begin);
  }
  parts.push_back(text.substr(begin));
  return parts;
}

Data split_at_white_space(const std::string& text) {
  Data parts = Data::array();
  std::string part;
  for (std::size_t i = 0; i < text.size();) {
    const char32_t character = next_code_point(text, i);
    if (!is_white_space(character)) {
      append_code_point(part, character);
    } else if (!part.empty()) {
      parts.push_back(std::exchange(part, {}));
    }
  }
  if (!part.empty()) parts.push_back(part);
  return parts;
}

std::string replaced(
    const std::string& text, const std::string& old, const std::string& by, std::int64_t most) {
  if (old.empty()) refuse_to_render("replace needs a text that is not empty");
  std::string result;
  std::size_t begin = 0;
  for (std::size_t at = text.find(old); at != std::string::npos && most != 0; --most) {
    result += text.substr(begin, at - begin) + by;
    begin = at + old.size();
    at = text.find(old, begin);
  }
  return result + text.substr(begin);
}

Data replaced(const std::string& text, Arguments& arguments) {
  return replaced(
      text,
      string_of(arguments.get(0, "old"), "old"),
      string_of(arguments.get(1, "new"), "new"),
      arguments.integer(2, "count", -1));
}

enum class Case { Upper, Lower };

std::string in_case(const std::string& text, Case wanted) {
  icu::UnicodeString unicode = icu::UnicodeString::fromUTF8(text);
  if (wanted == Case::Upper) {
    unicode.toUpper(icu::Locale::getRoot());
  } else {
    unicode.toLower(icu::Locale::getRoot());
  }
  std::string result;
  return unicode.toUTF8String(result);
}

std::optional<std::string> optional_text(
    Arguments& arguments, std::size_t position, std::string_view name) {
  const auto found = arguments.find(position, name);
  if (!found || found->data().is_null()) return std::nullopt;
  return string_of(*found, name);
}

bool has_affix(const std::string& text, const Value& affix, bool at_front) {
  const auto has = [&](const std::string& one) {
    return at_front ? text.starts_with(one) : text.ends_with(one);
  };
  if (!affix.data().is_array()) return has(string_of(affix, "a prefix or suffix"));
  const std::vector<Value> all = elements_of(affix);
  return std::ranges::any_of(
      all, [&](const Value& one) { return has(string_of(one, "a prefix or suffix")); });
}

std::optional<Value> string_method(
    const std::string& text, const std::string& name, Arguments& arguments) {
  if (name == "strip")
    return Data(stripped(text, optional_text(arguments, 0, "chars"), Side::Both));
  if (name == "lstrip")
    return Data(stripped(text, optional_text(arguments, 0, "chars"), Side::Left));
  if (name == "rstrip")
    return Data(stripped(text, optional_text(arguments, 0, "chars"), Side::Right));
  if (name == "startswith") return Data(has_affix(text, arguments.get(0, "prefix"), true));
  if (name == "endswith") return Data(has_affix(text, arguments.get(0, "suffix"), false));
  if (name == "upper") return Data(in_case(text, Case::Upper));
  if (name == "lower") return Data(in_case(text, Case::Lower));
  if (name == "split") {
    const auto separator = optional_text(arguments, 0, "sep");
    const std::int64_t most = arguments.integer(1, "maxsplit", -1);
    if (!separator && most >= 0) refuse_to_render("split at white space takes no maxsplit");
    return separator ? split(text, *separator, most) : split_at_white_space(text);
  }
  if (name == "replace") return replaced(text, arguments);
  if (name == "join") {
    std::string joined;
    for (const Value& element : elements_of(arguments.get(0, "iterable")))
      joined += (joined.empty() ? "" : text) + string_of(element, "what is joined");
    return Data(joined);
  }
  return std::nullopt;
}

std::optional<Value> dictionary_method(
    const Value& dictionary, const std::string& name, Arguments& arguments) {
  const Data& data = dictionary.data();
  if (name == "items") return pairs_of(data);
  if (name == "keys") return list_of(elements_of(dictionary));
  if (name == "values") {
    Data values = Data::array();
    for (const Data& element : data)
      values.push_back(element);
    return values;
  }
  if (name == "get") {
    Value found = item_of(dictionary, arguments.get(0, "key"));
    const auto otherwise = arguments.find(1, "default");
    if (!found.is_undefined()) return found;
    return otherwise ? *otherwise : Value(Data(nullptr));
  }
  return std::nullopt;
}

bool is_iterable(const Value& value) {
  const Data* data = value.find_data();
  return value.is_undefined() || (data != nullptr && (data->is_structured() || data->is_string()));
}

}  // namespace

std::optional<Value> method_result(
    const Value& object, const std::string& name, Arguments& arguments) {
  const Data& data = object.data();
  if (data.is_string()) {
    return string_method(data.get_ref<const std::string&>(), name, arguments);
  }
  return data.is_object() ? dictionary_method(object, name, arguments) : std::nullopt;
}

bool test_holds(const std::string& name, const Value& value, Arguments& arguments) {
  const Data* data = value.find_data();
  const auto is = [&](auto predicate) { return data != nullptr && predicate(*data); };
  if (name == "defined") return !value.is_undefined();
  if (name == "undefined") return value.is_undefined();
  if (name == "none") return is([](const Data& d) { return d.is_null(); });
  if (name == "string") return is([](const Data& d) { return d.is_string(); });
  if (name == "mapping") return is([](const Data& d) { return d.is_object(); });
  // What has a length and items.
  if (name == "sequence")
    return is([](const Data& d) { return d.is_structured() || d.is_string(); });
  if (name == "iterable") return is_iterable(value);
  if (name == "number") return is([](const Data& d) { return is_number(d); });
  if (name == "integer") return is([](const Data& d) { return d.is_number_integer(); });
  if (name == "float") return is([](const Data& d) { return d.is_number_float(); });
  if (name == "boolean") return is([](const Data& d) { return d.is_boolean(); });
  if (name == "true") return is([](const Data& d) { return d == Data(true); });
  if (name == "false") return is([](const Data& d) { return d == Data(false); });
  if (name == "odd") return integer_of(value, "an odd number") % 2 != 0;
  if (name == "even") return integer_of(value, "an even number") % 2 == 0;
  if (name == "divisibleby") {
    const std::int64_t divisor = integer_of(arguments.get(0, "num"), "num");
    if (divisor == 0) refuse_to_render("a division by zero");
    return integer_of(value, "a number") % divisor == 0;
  }
  if (name == "in") return contains(arguments.get(0, "seq"), value);
  const bool is_equal = name == "equalto" || name == "eq" || name == "==";
  if (is_equal) return compare("==", value, arguments.get(0, "other"));
  if (name == "ne" || name == "!=") return compare("!=", value, arguments.get(0, "other"));
  refuse_to_render("limn does not know the test {}", name);
}

namespace {

// selectattr("role", "equalto", "user") and its relatives.
Data selected(const Value& list, const std::string& name, Arguments& arguments) {
  const bool by_attribute = name.ends_with("attr");
  const bool keep = name.starts_with("select");
  std::size_t next = 0;
  const std::optional<Value> attribute =
      by_attribute ? std::optional(arguments.get(next++, "an attribute")) : std::nullopt;
  const std::optional<Value> test = arguments.find(next++, "a test");
  std::vector<Value> others;
  while (next < arguments.num_positional())
    others.push_back(arguments.get(next++, ""));
  Data result = Data::array();
  for (const Value& element : elements_of(list)) {
    const Value value = attribute ? item_of(element, *attribute) : element;
    Arguments of_test("the test", others, {});
    const bool passes =
        test ? test_holds(string_of(*test, "a test"), value, of_test) : is_true(value);
    if (passes == keep) result.push_back(element.data());
  }
  return result;
}

Data mapped(const Value& list, Arguments& arguments) {
  const Value attribute = arguments.get(1, "attribute");
  if (string_of(attribute, "an attribute").find('.') != std::string::npos) {
    refuse_to_render("map with an attribute of an attribute is not supported");
  }
  Data result = Data::array();
  for (const Value& element : elements_of(list))
    result.push_back(item_of(element, attribute).data());
  return result;
}

Data joined(const Value& list, Arguments& arguments) {
  const std::string between = optional_text(arguments, 0, "d").value_or("");
  const auto attribute = arguments.find(1, "attribute");
  std::string text;
  bool is_first = true;
  for (const Value& element : elements_of(list)) {
    if (!std::exchange(is_first, false)) text += between;
    text += text_of(attribute ? item_of(element, *attribute) : element);
  }
  return text;
}

std::size_t length_of(const Value& value) {
  const Data* data = value.find_data();
  if (data != nullptr && data->is_structured()) return data->size();
  if (data != nullptr && !data->is_string())
    refuse_to_render("a value of type {} has no length", type_name(*data));
  if (value.is_undefined()) return 0;
  return static_cast<std::size_t>(num_code_points(data->get_ref<const std::string&>()));
}

Data json_text(const Value& value, Arguments& arguments) {
  JsonLayout layout;
  const auto indent = arguments.find(1, "indent");
  if (indent && !indent->data().is_null()) {
    layout.indent = std::clamp<std::int64_t>(integer_of(*indent, "indent"), 0, 16);
  }
  if (const auto sort_keys = arguments.find(3, "sort_keys")) layout.sort_keys = is_true(*sort_keys);
  if (const auto ascii = arguments.find(0, "ensure_ascii"); ascii && is_true(*ascii)) {
    refuse_to_render("tojson with ensure_ascii is not supported");
  }
  std::string json;
  write_json(value.data(), layout, 0, json);
  return json;
}

}  // namespace

Value filter_result(const std::string& name, const Value& value, Arguments& arguments) {
  if (name == "default" || name == "d") {
    const auto otherwise = arguments.find(0, "default_value");
    const auto also_if_false = arguments.find(1, "boolean");
    const bool is_missing =
        value.is_undefined() || (also_if_false && is_true(*also_if_false) && !is_true(value));
    return !is_missing ? value : otherwise ? *otherwise : Value(Data(""));
  }
  if (name == "trim")
    return Data(stripped(text_of(value), optional_text(arguments, 0, "chars"), Side::Both));
  if (name == "length" || name == "count") return Data(length_of(value));
  if (name == "tojson") return json_text(value, arguments);
  if (name == "string") return Data(text_of(value));
  if (name == "safe") return value;
  if (name == "list") return list_of(elements_of(value));
  if (name == "join") return joined(value, arguments);
  if (name == "upper") return Data(in_case(text_of(value), Case::Upper));
  if (name == "lower") return Data(in_case(text_of(value), Case::Lower));
  if (name == "items") return value.is_undefined() ? Data::array() : pairs_of(value.data());
  if (name == "int" && value.find_data() != nullptr && value.data().is_number_integer())
    return value;
  if (name == "map") {
    if (arguments.num_positional() > 0) refuse_to_render("map with a filter is not supported");
    return mapped(value, arguments);
  }
  if (name == "select" || name == "reject" || name == "selectattr" || name == "rejectattr") {
    return selected(value, name, arguments);
  }
  if (name == "replace") return replaced(text_of(value), arguments);
  if (name == "first" || name == "last" || name == "reverse") {
    std::vector<Value> elements = elements_of(value);
    if (name == "reverse" && value.data().is_string())
      refuse_to_render("reverse of a string is not supported");
    if (name == "reverse") return std::ranges::reverse(elements), Value(list_of(elements));
    if (elements.empty()) return Value(Undefined{"an element"});
    return name == "first" ? elements.front() : elements.back();
  }
  refuse_to_render("limn does not know the filter {}", name);
}
}  // namespace limn
