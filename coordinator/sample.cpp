#include "coordinator/sample.h"

#include <algorithm>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "coordinator/code_points.h"
#include "coordinator/units.h"
#include "coordinator/white_space.h"
#include "storage/error.h"

namespace limn {

namespace {

template <typename... Args>
[[noreturn]] void refuse(
    const DatasetRecord& record, fmt::format_string<Args...> text, const Args&... values) {
  throw DataError(
      fmt::format("{}: {}", record.where, fmt::vformat(text, fmt::make_format_args(values...))));
}

// Tokens with the text that they are the tokens of; no text without a tokenizer.
struct Passage {
  std::string text;
  std::vector<TokenRecord> tokens;
};

// Prompt and target, one after the other.
struct Sequence {
  Passage whole;
  std::int64_t prompt_length = 0;  // tokens
  std::int64_t prompt_bytes = 0;   // of the text

  std::string_view prompt_text() const {
    return std::string_view(whole.text).substr(0, prompt_bytes);
  }

  std::span<const TokenRecord> prompt_tokens() const {
    return std::span(whole.tokens).first(prompt_length);
  }

  std::int64_t target_length() const { return std::ssize(whole.tokens) - prompt_length; }
};

std::int32_t num_characters(std::string_view text) {
  return static_cast<std::int32_t>(code_point_offsets(text).size()) - 1;
}

bool is_special(const TokenRecord& token) {
  return token.chars == CharRange{};
}

// Without the special tokens that some tokenizers put at the end: they would stand between prompt
// and target, or be explained as if somebody had written them.
Passage encode(const Tokenizer& tokenizer, std::string_view text, SpecialTokens special_tokens) {
  Passage passage{std::string(text), tokenizer.encode(text, special_tokens)};
  while (!passage.tokens.empty() && is_special(passage.tokens.back()))
    passage.tokens.pop_back();
  return passage;
}

// The special tokens that the tokenizer adds to every text.
std::vector<std::int32_t> added_ids(const Tokenizer& tokenizer) {
  std::vector<std::int32_t> ids;
  for (const TokenRecord& token : tokenizer.encode("", SpecialTokens::Add)) {
    if (is_special(token)) ids.push_back(token.id);
  }
  return ids;
}

// Spells out ids, but for special tokens and those that the tokenizer does not know.
Passage spell(const Tokenizer& tokenizer, std::span<const std::int32_t> ids) {
  const std::vector<std::int32_t> unspelt = added_ids(tokenizer);
  Passage passage;
  std::int32_t end = 0;
  for (const std::int32_t id : ids) {
    const bool spelt =
        id < tokenizer.vocab_size() && std::ranges::find(unspelt, id) == unspelt.end();
    const std::string text = spelt ? tokenizer.token_text(id) : "";
    const std::int32_t begin = std::exchange(end, end + num_characters(text));
    passage.tokens.push_back({id, begin < end ? CharRange{begin, end} : CharRange{}});
    passage.text += text;
  }
  return passage;
}

Passage passage_of_ids(const Tokenizer* tokenizer, std::span<const std::int32_t> ids) {
  if (tokenizer != nullptr) return spell(*tokenizer, ids);
  Passage passage;
  for (const std::int32_t id : ids)
    passage.tokens.push_back({id, {}});
  return passage;
}

Sequence joined(const Passage& prompt, const Passage& target) {
  Sequence sequence{
      .whole = prompt,
      .prompt_length = std::ssize(prompt.tokens),
      .prompt_bytes = std::ssize(prompt.text)};
  const std::int32_t shift = num_characters(prompt.text);
  sequence.whole.text += target.text;
  for (TokenRecord token : target.tokens) {
    if (!is_special(token)) token.chars = {token.chars.begin + shift, token.chars.end + shift};
    sequence.whole.tokens.push_back(token);
  }
  return sequence;
}

Sequence encode_together(
    const DatasetRecord& record, const Tokenizer& tokenizer, std::string_view prompt) {
  const Passage context =
      encode(tokenizer, without_trailing_white_space(prompt), SpecialTokens::Add);
  Passage whole = encode(tokenizer, std::string(prompt) + *record.target, SpecialTokens::Add);
  if (whole.tokens.size() <= context.tokens.size()) {
    refuse(
        record,
        "the target merges with the prompt's last token and keeps none for itself; put white space "
        "between them or give input_ids and target_ids: {}",
        *record.target);
  }
  return {
      .whole = std::move(whole),
      .prompt_length = std::ssize(context.tokens),
      .prompt_bytes = std::ssize(prompt)};
}

void check_not_empty(const DatasetRecord& record) {
  if (record.prompt && without_trailing_white_space(*record.prompt).empty()) {
    refuse(record, "prompt must not be empty or white space alone");
  }
  if (record.input_ids && record.input_ids->empty()) refuse(record, "input_ids must not be empty");
  if (record.target && record.target->empty()) refuse(record, "target must not be empty");
  if (record.target_ids && record.target_ids->empty()) {
    refuse(record, "target_ids must not be empty");
  }
}

Sequence sequence_of(const DatasetRecord& record, const Tokenizer* tokenizer) {
  check_not_empty(record);
  if (tokenizer == nullptr && (record.prompt || record.target)) {
    refuse(
        record,
        "text needs a tokenizer; put tokenizer.json into the model's folder or give input_ids and "
        "target_ids");
  }
  if (record.prompt && record.target && !record.prompt_is_rendered) {
    return encode_together(record, *tokenizer, *record.prompt);
  }
  const SpecialTokens added = record.prompt_is_rendered ? SpecialTokens::Omit : SpecialTokens::Add;
  return joined(
      record.prompt ? encode(*tokenizer, *record.prompt, added)
                    : passage_of_ids(tokenizer, *record.input_ids),
      record.target ? encode(*tokenizer, *record.target, SpecialTokens::Omit)
                    : passage_of_ids(tokenizer, *record.target_ids));
}

void check_fits(const DatasetRecord& record, const Sequence& sequence, const ModelLimits& limits) {
  if (sequence.prompt_length == 0 || sequence.target_length() == 0) {
    refuse(record, "prompt and target must have at least one token each; lengthen them");
  }
  for (const TokenRecord& token : sequence.whole.tokens) {
    if (token.id < limits.vocab_size) continue;
    refuse(
        record,
        "a token must be one of the model's {}; use the tokenizer that belongs to it: {}",
        limits.vocab_size,
        token.id);
  }
  const std::int64_t fed_length = std::ssize(sequence.whole.tokens) - 1;
  if (limits.max_positions > 0 && fed_length > limits.max_positions) {
    refuse(
        record,
        "the model takes at most {} tokens of prompt and target, the last one not counted; shorten "
        "the prompt: {}",
        limits.max_positions,
        fed_length);
  }
}

void check_evidence(const DatasetRecord& record, std::string_view text) {
  const std::int32_t text_end = num_characters(text);
  for (const EvidenceRecord& evidence : record.evidence) {
    if (evidence.chars.end <= text_end) continue;
    refuse(
        record,
        "evidence must lie within the {} characters of prompt and target: [{}, {})",
        text_end,
        evidence.chars.begin,
        evidence.chars.end);
  }
}

std::vector<UnitRecord> units_of_positions(std::int64_t num_tokens) {
  std::vector<UnitRecord> units(num_tokens);
  for (std::size_t i = 0; i < units.size(); ++i) {
    units[i].tokens = {static_cast<std::int32_t>(i)};
  }
  return units;
}

std::vector<UnitRecord> segmented_units(
    const DatasetRecord& record, UnitKind kind, const Sequence& sequence) {
  if (sequence.prompt_text().empty()) {
    refuse(
        record,
        "words and sentences need a text; set explain.units to token or give the record's units as "
        "unit_tokens and set it to given");
  }
  std::vector<UnitRecord> units = units_of_ranges(
      sequence.whole.text,
      segment_text(sequence.prompt_text(), kind),
      sequence.prompt_tokens(),
      TokenMembership::FirstCharacter);
  std::erase_if(units, [](const UnitRecord& unit) { return unit.tokens.empty(); });
  return units;
}

std::vector<UnitRecord> units_of_given_ranges(
    const DatasetRecord& record, const Sequence& sequence) {
  const std::int32_t prompt_end = num_characters(sequence.prompt_text());
  for (const CharRange& range : *record.units) {
    if (range.begin < range.end && range.end <= prompt_end) continue;
    refuse(
        record,
        "a unit must be a range of one or more of the prompt's {} characters: [{}, {})",
        prompt_end,
        range.begin,
        range.end);
  }
  std::vector<UnitRecord> units = units_of_ranges(
      sequence.whole.text, *record.units, sequence.prompt_tokens(), TokenMembership::AnyCharacter);
  for (const UnitRecord& unit : units) {
    if (!unit.tokens.empty()) continue;
    refuse(
        record,
        "a unit covers no token; make it longer than the white space between two tokens: [{}, {})",
        unit.chars.begin,
        unit.chars.end);
  }
  return units;
}

std::vector<UnitRecord> units_of_given_tokens(
    const DatasetRecord& record, const Sequence& sequence) {
  const std::int64_t num_tokens = std::ssize(sequence.whole.tokens);
  std::vector<UnitRecord> units;
  for (std::vector<std::int32_t> positions : *record.unit_tokens) {
    if (positions.empty()) refuse(record, "each of unit_tokens must have a position: []");
    std::ranges::sort(positions);
    positions.erase(std::unique(positions.begin(), positions.end()), positions.end());
    if (positions.back() >= num_tokens) {
      refuse(
          record,
          "unit_tokens must be positions of the {} tokens of prompt and target: {}",
          num_tokens,
          positions.back());
    }
    units.push_back({.chars = {}, .box = {}, .tokens = std::move(positions)});
  }
  return units;
}

std::vector<UnitRecord> given_units(const DatasetRecord& record, const Sequence& sequence) {
  if (record.units) return units_of_given_ranges(record, sequence);
  if (record.unit_tokens) return units_of_given_tokens(record, sequence);
  refuse(
      record,
      "explain.units is given but the record has no units; add units or unit_tokens to it, or let "
      "limn cut sentences");
}

std::vector<UnitRecord> units_of(
    const DatasetRecord& record, UnitKind kind, const Sequence& sequence) {
  switch (kind) {
    case UnitKind::Token:
      // Without a text nothing tells special tokens from others.
      return sequence.prompt_text().empty() ? units_of_positions(sequence.prompt_length)
                                            : units_of_tokens(sequence.prompt_tokens());
    case UnitKind::Word:
    case UnitKind::Sentence:
      return segmented_units(record, kind, sequence);
    case UnitKind::Given:
      return given_units(record, sequence);
  }
  throw InternalError("explain.units has a value that is none of its enumerators");
}

std::vector<TargetRecord> targets_of(const Sequence& sequence) {
  std::vector<TargetRecord> targets;
  for (std::int64_t position = sequence.prompt_length; position < std::ssize(sequence.whole.tokens);
       ++position) {
    targets.push_back(
        {.position = static_cast<std::int32_t>(position),
         .token = sequence.whole.tokens[position].id,
         .log_prob = std::numeric_limits<float>::quiet_NaN()});
  }
  return targets;
}

// The record with a prompt instead of its conversation.
DatasetRecord rendered(const DatasetRecord& record, const ChatTemplate* chat_template) {
  if (chat_template == nullptr) {
    refuse(
        record,
        "messages need a chat template; put chat_template.jinja into the model's folder or give a "
        "prompt");
  }
  const ChatRecord& chat = *record.chat;
  DatasetRecord result = record;
  result.chat = nullptr;
  result.prompt_is_rendered = true;
  try {
    result.prompt = chat_template->render(chat.chat);
    if (chat.units) result.units = chat_template->locate(chat.chat, *result.prompt, *chat.units);
    for (const CharRange& range : chat_template->locate(chat.chat, *result.prompt, chat.evidence)) {
      result.evidence.push_back({.chars = range, .box = {}});
    }
  } catch (const DataError& error) {
    refuse(record, "{}", error.what());
  }
  return result;
}

}  // namespace

SamplePreparer::SamplePreparer(
    const Tokenizer* tokenizer,
    const ExplainOptions& options,
    const ModelLimits& limits,
    const ChatTemplate* chat_template)
    : tokenizer_(tokenizer),
      options_(options),
      limits_(limits),
      chat_template_(chat_template) {}

Sample SamplePreparer::prepare(const DatasetRecord& record) const {
  if (record.chat != nullptr) return prepare(rendered(record, chat_template_));
  Sequence sequence = sequence_of(record, tokenizer_);
  check_fits(record, sequence, limits_);
  check_evidence(record, sequence.whole.text);

  Sample sample{.index = record.index, .record = {}, .prompt_length = sequence.prompt_length};
  sample.record.id = record.id;
  sample.record.units = units_of(record, options_.units, sequence);
  sample.record.targets = targets_of(sequence);
  sample.record.evidence = record.evidence;
  sample.record.text = std::move(sequence.whole.text);
  sample.record.tokens = std::move(sequence.whole.tokens);
  if (sample.record.units.empty()) {
    refuse(record, "the prompt has no unit to explain the target with; choose other explain.units");
  }
  return sample;
}

}  // namespace limn
