#include "coordinator/post_processor.h"

#include <algorithm>
#include <cstddef>
#include <string>

#include "coordinator/character_classes.h"
#include "coordinator/code_points.h"
#include "coordinator/tokenizer_json.h"

namespace limn {

namespace {

constexpr char32_t kByteLevelSpace = 0x120;

bool is_space(char32_t character) {
  return character == kByteLevelSpace || is_unicode_space(character);
}

}  // namespace

SpaceCount count_spaces(std::string_view token) {
  SpaceCount result;
  for (std::size_t i = 0; i < token.size(); ++result.leading) {
    if (!is_space(next_code_point(token, i))) break;
  }
  for (std::size_t i = token.size(); i > 0; ++result.trailing) {
    if (!is_space(previous_code_point(token, i))) break;
  }
  return result;
}

PostProcessor::PostProcessor(const CheckedJson& post_processor, std::int64_t vocab_size)
    : vocab_size_(vocab_size) {
  add_steps(post_processor, 0);
}

void PostProcessor::add_steps(const CheckedJson& post_processor, int depth) {
  const CheckedJson type = post_processor.at("type");
  if (type.string() == "Sequence") {
    post_processor.allow_keys({"type", "processors"});
    for (const CheckedJson& inner : parse_sequence(post_processor.at("processors"), depth)) {
      add_steps(inner, depth + 1);
    }
    return;
  }
  if (type.string() == "ByteLevel") {
    // use_regex is the pre-tokenizer's.
    post_processor.allow_keys({"type", "add_prefix_space", "trim_offsets", "use_regex"});
    const bool keeps_prefix_space = post_processor.at("add_prefix_space").boolean();
    if (post_processor.at("trim_offsets").boolean()) trims_.push_back({keeps_prefix_space});
    return;
  }

  // Those that follow add special tokens.
  if (adds_tokens_) type.refuse("must not come after another that adds tokens");
  adds_tokens_ = true;
  if (type.string() == "TemplateProcessing") {
    add_template(post_processor);
  } else if (type.string() == "BertProcessing") {
    post_processor.allow_keys({"type", "sep", "cls"});
    add_frame(post_processor);
  } else if (type.string() == "RobertaProcessing") {
    post_processor.allow_keys({"type", "sep", "cls", "trim_offsets", "add_prefix_space"});
    const bool keeps_prefix_space = post_processor.at("add_prefix_space").boolean();
    if (post_processor.at("trim_offsets").boolean()) trims_.push_back({keeps_prefix_space});
    add_frame(post_processor);
  } else {
    type.refuse("is not supported");
  }
}

// "cls" and "sep" are a token and its id each: ["[CLS]", 101].
void PostProcessor::add_frame(const CheckedJson& post_processor) {
  const auto id_of = [&](const std::string& key) {
    const CheckedJson pair = post_processor.at(key);
    const std::vector<CheckedJson> token_and_id = pair.elements();
    if (token_and_id.size() != 2) pair.refuse("must be a token and its id");
    return checked_id(token_and_id[1]);
  };
  tokens_before_.push_back(id_of("cls"));
  tokens_after_.push_back(id_of("sep"));
}

void PostProcessor::add_template(const CheckedJson& post_processor) {
  post_processor.allow_keys({"type", "single", "pair", "special_tokens"});
  const CheckedJson single = post_processor.at("single");
  bool has_text = false;
  for (const CheckedJson& piece : single.elements()) {
    piece.allow_keys({"SpecialToken", "Sequence"});
    if (const std::optional<CheckedJson> special = piece.find("SpecialToken")) {
      std::vector<std::int32_t>& tokens = has_text ? tokens_after_ : tokens_before_;
      const std::vector<std::int32_t> ids = special_ids(post_processor, special->at("id"));
      tokens.insert(tokens.end(), ids.begin(), ids.end());
      continue;
    }
    const CheckedJson sequence = piece.at("Sequence").at("id");
    if (sequence.string() != "A" || has_text) sequence.refuse("must be A, and be it once");
    has_text = true;
  }
  if (!has_text) single.refuse("must have the Sequence A");
}

std::vector<std::int32_t> PostProcessor::special_ids(
    const CheckedJson& template_, const CheckedJson& id) const {
  const CheckedJson special = template_.at("special_tokens").at(id.string());
  std::vector<std::int32_t> ids;
  for (const CheckedJson& token : special.at("ids").elements()) {
    ids.push_back(checked_id(token));
  }
  return ids;
}

std::int32_t PostProcessor::checked_id(const CheckedJson& id) const {
  const bool is_id = 0 <= id.integer() && id.integer() < vocab_size_;
  if (!is_id) id.refuse("must be the id of a token");
  return static_cast<std::int32_t>(id.integer());
}

void PostProcessor::trim(TokenRecord& token, std::int64_t index, const SpaceCount& spaces) const {
  for (const Trim& trim : trims_) {
    const bool is_first = index == 0 || token.chars.begin == 0;
    const bool is_prefix = is_first && trim.keeps_prefix_space && spaces.leading == 1;
    CharRange& chars = token.chars;
    if (!is_prefix) chars.begin = std::min(chars.begin + spaces.leading, chars.end);
    // As in Python's `tokenizers`: more spaces than there are characters before the end trim none.
    if (chars.end >= spaces.trailing) {
      chars.end = std::max(chars.end - spaces.trailing, chars.begin);
    }
  }
}

}  // namespace limn
