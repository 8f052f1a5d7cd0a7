#include "coordinator/tokenizer_json.h"

#include "storage/error.h"

namespace limn {

TextPattern parse_pattern(const CheckedJson& pattern) {
  pattern.allow_keys({"String", "Regex"});
  if (const std::optional<CheckedJson> literal = pattern.find("String")) {
    if (literal->string().empty()) literal->refuse("must not be empty");
    return TextPattern::literal(literal->string());
  }
  const CheckedJson regex = pattern.at("Regex");
  try {
    return TextPattern::regex(regex.string());
  } catch (const DataError& error) {
    regex.refuse(fmt::format("cannot be used, {}", error.what()));
  }
}

std::vector<CheckedJson> parse_sequence(const CheckedJson& elements, int depth) {
  constexpr int kDeepest = 16;
  if (depth >= kDeepest) elements.refuse("is nested too deep");
  return elements.elements();
}

}  // namespace limn
