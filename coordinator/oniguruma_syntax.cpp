#include "coordinator/oniguruma_syntax.h"

#include <cctype>
#include <cstdint>
#include <optional>
#include <vector>

#include <fmt/format.h>
#include <unicode/uchar.h>

#include "coordinator/newer_characters.h"
#include "storage/error.h"

namespace limn {

namespace {

bool is_digit(char c) {
  return std::isdigit(static_cast<unsigned char>(c)) != 0;
}

bool is_hex(char c) {
  return std::isxdigit(static_cast<unsigned char>(c)) != 0;
}

bool is_letter_or_digit(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0;
}

// A set of characters as PCRE2 writes it.
struct CharacterSet {
  std::string members;     // inside []
  std::string complement;  // of the set, inside [] as well; empty if it takes more than an escape
};

CharacterSet category_set(std::string_view category) {
  return {
      fmt::format("\\p{{{}}}{}", category, newer_characters(category)),
      fmt::format("\\P{{{}}}", category)};
}

CharacterSet property_set(std::string_view property) {
  return {fmt::format("\\p{{{}}}", property), fmt::format("\\P{{{}}}", property)};
}

CharacterSet hex_digit_set() {
  return {"0-9A-Fa-f", ""};
}

// What Oniguruma has for \w inside [].
CharacterSet word_set_in_class() {
  return {
      "\\p{Alphabetic}" + newer_characters("L") + category_set("M").members +
          category_set("Nd").members + category_set("Pc").members,
      ""};
}

// The same outside, where superscripts and fractions of Latin-1 belong to it, too.
CharacterSet word_set() {
  return {"\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}" + word_set_in_class().members, ""};
}

// The set of a property's name, nothing if Unicode has none of this name.
std::optional<CharacterSet> find_set(const std::string& name) {
  const auto value = [&](UProperty property) {
    return u_getPropertyValueEnum(property, name.c_str());
  };
  if (const std::int32_t mask = value(UCHAR_GENERAL_CATEGORY_MASK); mask != UCHAR_INVALID_CODE) {
    return category_set(
        u_getPropertyValueName(UCHAR_GENERAL_CATEGORY_MASK, mask, U_SHORT_PROPERTY_NAME));
  }
  if (const std::int32_t script = value(UCHAR_SCRIPT); script != UCHAR_INVALID_CODE) {
    const char* const long_name =
        u_getPropertyValueName(UCHAR_SCRIPT, script, U_LONG_PROPERTY_NAME);
    return property_set(fmt::format("sc:{}", long_name));
  }
  const UProperty binary = u_getPropertyEnum(name.c_str());
  if (binary >= UCHAR_BINARY_START && binary < UCHAR_BINARY_LIMIT) {
    return property_set(u_getPropertyName(binary, U_LONG_PROPERTY_NAME));
  }
  return std::nullopt;
}

class Translation {
 public:
  explicit Translation(std::string_view regex) : regex_(regex) {}

  std::string run() {
    while (!at_end()) {
      translate_next();
    }
    return result_;
  }

 private:
  bool at_end() const { return position_ == regex_.size(); }

  std::string_view rest() const { return regex_.substr(position_); }

  char peek() const { return at_end() ? '\0' : regex_[position_]; }

  char take() {
    if (at_end()) refuse("ends too early", regex_);
    return regex_[position_++];
  }

  [[noreturn]] void refuse(std::string_view problem, std::string_view part) const {
    throw DataError(fmt::format("the regular expression {}: {}", problem, part));
  }

  [[noreturn]] void refuse_unknown(std::string_view part) const {
    refuse("has a construct that is not supported", part);
  }

  void translate_next() {
    const char c = peek();
    if (c == '(') return translate_group_start();
    if (c == '{') return translate_interval();
    if (c == '*' || c == '+' || c == '?') {
      result_ += take();
      return;
    }
    if (c == ')') {
      if (group_begins_.empty()) refuse("has a parenthesis that was not opened", regex_);
      result_ += take();
      atom_begin_ = group_begins_.back();
      group_begins_.pop_back();
      return;
    }
    atom_begin_ = result_.size();
    if (c == '[') return translate_class();
    if (c == '\\') return translate_escape();
    result_ += take();
  }

  void translate_group_start() {
    group_begins_.push_back(result_.size());
    for (const std::string_view start : {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>"}) {
      if (!rest().starts_with(start)) continue;
      result_ += start;
      position_ += start.size();
      return;
    }
    if (rest().starts_with("(*")) refuse_unknown("(*");
    if (rest().starts_with("(?")) return translate_options();
    result_ += take();
  }

  // (?i:...) and (?i) at the very beginning; elsewhere the two dialects disagree on how far it
  // reaches.
  void translate_options() {
    const std::size_t begin = position_;
    result_ += take();
    result_ += take();
    while (peek() == 'i' || peek() == 'm' || peek() == '-') {
      const char option = take();
      result_ += option == 'm' ? 's' : option;
    }
    const bool is_whole_regex = begin == 0 && peek() == ')';
    if (peek() != ':' && !is_whole_regex) {
      refuse_unknown(regex_.substr(begin, position_ + 1 - begin));
    }
    if (peek() == ':') result_ += take();
  }

  void translate_interval() {
    std::size_t end = position_ + 1;
    std::string bounds;
    std::int64_t num_commas = 0;
    while (end < regex_.size() && (is_digit(regex_[end]) || regex_[end] == ',')) {
      num_commas += regex_[end] == ',' ? 1 : 0;
      bounds += regex_[end++];
    }
    const bool is_interval = end < regex_.size() && regex_[end] == '}' && num_commas <= 1 &&
                             !bounds.empty() && bounds != ",";
    if (!is_interval) {
      atom_begin_ = result_.size();
      result_ += '\\';
      result_ += take();
      return;
    }
    position_ = end + 1;
    if (bounds.front() == ',') bounds.insert(bounds.begin(), '0');
    result_ += fmt::format("{{{}}}", bounds);
    if (peek() == '?' && num_commas == 0) refuse_unknown(fmt::format("{{{}}}?", bounds));
    if (peek() == '+') {
      result_.insert(atom_begin_, "(?:");
      result_ += ')';
    }
  }

  void translate_class() {
    result_ += take();
    if (peek() == '^') result_ += take();
    if (peek() == ']') refuse_unknown("[]");
    translate_members(0);
    result_ += take();
  }

  // Up to the bracket that ends the class, which lies in `depth` others.
  void translate_members(int depth) {
    while (peek() != ']') {
      if (rest().starts_with("&&")) refuse_unknown("&& in []");
      if (peek() == '[') {
        translate_inner_class(depth + 1);
      } else if (peek() == '\\') {
        is_in_class_ = true;
        translate_escape();
        is_in_class_ = false;
      } else {
        result_ += take();
      }
    }
  }

  // What a class in a class has becomes the outer one's. PCRE2 knows no such thing, so that only
  // plain ones can be had.
  void translate_inner_class(int depth) {
    constexpr int kDeepest = 8;
    if (depth > kDeepest || result_.ends_with('-')) refuse_unknown("[ in []");
    take();
    const bool is_plain = std::string_view("^:-]").find(peek()) == std::string_view::npos;
    if (!is_plain) refuse_unknown("[ in []");
    translate_members(depth);
    if (result_.ends_with('-')) refuse_unknown("[ in []");
    take();
    if (peek() == '-') refuse_unknown("[ in []");
  }

  void translate_escape() {
    take();
    const char c = take();
    switch (c) {
      case 's':
        return add_set(property_set("White_Space"));
      case 'S':
        return add_complement(property_set("White_Space"));
      case 'd':
        return add_set(category_set("Nd"));
      case 'D':
        return add_complement(category_set("Nd"));
      case 'h':
        return add_set(hex_digit_set());
      case 'H':
        return add_complement(hex_digit_set());
      case 'w':
        return add_set(is_in_class_ ? word_set_in_class() : word_set());
      case 'W':
        return add_complement(word_set());
      case 'v':
        result_ += "\\x0b";
        return;
      case 'b':
        return add_word_boundary("(?:(?<=[{0}])(?![{0}])|(?<![{0}])(?=[{0}]))");
      case 'B':
        return add_word_boundary("(?:(?<=[{0}])(?=[{0}])|(?<![{0}])(?![{0}]))");
      case 'p':
      case 'P':
        return translate_property(c);
      case 'x':
        return translate_code_point(c);
      case 'u':
        return translate_code_point(c);
      default:
        break;
    }
    const bool is_known =
        std::string_view("nrtfae").find(c) != std::string_view::npos ||
        (!is_in_class_ && std::string_view("AzZ").find(c) != std::string_view::npos);
    if (is_letter_or_digit(c) && !is_known) refuse_unknown(fmt::format("\\{}", c));
    result_ += '\\';
    result_ += c;
  }

  void add_set(const CharacterSet& set) {
    result_ += is_in_class_ ? set.members : fmt::format("[{}]", set.members);
  }

  void add_complement(const CharacterSet& set) {
    if (is_in_class_ && set.complement.empty()) refuse_unknown("\\W or \\H in []");
    result_ += is_in_class_ ? set.complement : fmt::format("[^{}]", set.members);
  }

  void add_word_boundary(std::string_view form) {
    if (is_in_class_) refuse_unknown("\\b in []");
    result_ += fmt::format(fmt::runtime(form), word_set().members);
  }

  // \p{Name}, \P{Name}, \p{^Name}
  void translate_property(char p) {
    const std::size_t end = regex_.find('}', position_);
    if (take() != '{' || end == std::string_view::npos) refuse_unknown(fmt::format("\\{}", p));
    bool is_negated = p == 'P';
    if (peek() == '^') {
      take();
      is_negated = !is_negated;
    }
    const std::string name(regex_.substr(position_, end - position_));
    const std::optional<CharacterSet> set = find_set(name);
    if (!set) refuse_unknown(fmt::format("\\p{{{}}}", name));
    position_ = end + 1;
    if (is_negated) {
      add_complement(*set);
    } else {
      add_set(*set);
    }
  }

  // \x41, \x{1F600}, \u4E00
  void translate_code_point(char kind) {
    const bool is_braced = kind == 'x' && peek() == '{';
    if (is_braced) take();
    const std::size_t most = is_braced ? 8 : kind == 'x' ? 2 : 4;
    std::string digits;
    while (digits.size() < most && is_hex(peek())) {
      digits += take();
    }
    const bool is_complete = is_braced ? take() == '}' && !digits.empty() : digits.size() == most;
    // Two digits are a byte: the same as a character only below 80.
    const bool is_lone_byte = kind == 'x' && !is_braced && is_complete && digits.front() >= '8';
    if (!is_complete || is_lone_byte) refuse_unknown(fmt::format("\\{}{}", kind, digits));
    result_ += fmt::format("\\x{{{}}}", digits);
  }

  std::string_view regex_;
  std::size_t position_ = 0;
  bool is_in_class_ = false;
  std::size_t atom_begin_ = 0;             // in result_: what a quantifier that follows repeats
  std::vector<std::size_t> group_begins_;  // in result_, of the groups that are open
  std::string result_;
};

}  // namespace

std::string pcre2_from_oniguruma(std::string_view regex) {
  return Translation(regex).run();
}

}  // namespace limn
