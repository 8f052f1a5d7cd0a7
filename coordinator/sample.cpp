#include "coordinator/sample.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "coordinator/code_points.h"
#include "coordinator/record_refusal.h"
#include "coordinator/white_space.h"

namespace limn {

namespace {

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
    const std::int32_t begin = std::exchange(end, end + num_code_points(text));
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
  const std::int32_t shift = num_code_points(prompt.text);
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

void check_prompt_not_empty(const DatasetRecord& record) {
  if (record.prompt && without_trailing_white_space(*record.prompt).empty()) {
    refuse(record, "prompt must not be empty or white space alone");
  }
  if (record.input_ids && record.input_ids->empty()) refuse(record, "input_ids must not be empty");
}

void check_target_not_empty(const DatasetRecord& record) {
  if (!record.target && !record.target_ids) {
    refuse(record, "the model has given no target; the dataset has changed since it was asked");
  }
  if (record.target && record.target->empty()) refuse(record, "target must not be empty");
  if (record.target_ids && record.target_ids->empty()) {
    refuse(record, "target_ids must not be empty");
  }
}

// Not DataError: the fault is not the record's, and the next one would only say it again.
void check_has_tokenizer(
    const DatasetRecord& record, const Tokenizer* tokenizer, const ModelLimits& limits) {
  if (tokenizer != nullptr || (!record.prompt && !record.target)) return;
  throw IoError(fmt::format(
      "{}: has neither tokenizer.json nor tokenizer.model, which text needs; put the model's "
      "tokenizer there, or give input_ids and target_ids: {}",
      limits.folder.string(),
      record.where));
}

// On its own.
Passage prompt_of(const DatasetRecord& record, const Tokenizer* tokenizer) {
  const SpecialTokens added = record.prompt_is_rendered ? SpecialTokens::Omit : SpecialTokens::Add;
  return record.prompt ? encode(*tokenizer, *record.prompt, added)
                       : passage_of_ids(tokenizer, *record.input_ids);
}

Sequence sequence_of(const DatasetRecord& record, const Tokenizer* tokenizer) {
  check_prompt_not_empty(record);
  check_target_not_empty(record);
  if (record.prompt && record.target && !record.prompt_is_rendered) {
    return encode_together(record, *tokenizer, *record.prompt);
  }
  return joined(
      prompt_of(record, tokenizer),
      record.target ? encode(*tokenizer, *record.target, SpecialTokens::Omit)
                    : passage_of_ids(tokenizer, *record.target_ids));
}

void check_tokens(
    const DatasetRecord& record, std::span<const TokenRecord> tokens, const ModelLimits& limits) {
  for (const TokenRecord& token : tokens) {
    if (token.id < limits.vocab_size) continue;
    refuse(
        record,
        "a token must be one of the model's {}; use the tokenizer that belongs to it: {}",
        limits.vocab_size,
        token.id);
  }
}

void check_fits(const DatasetRecord& record, const Sequence& sequence, const ModelLimits& limits) {
  if (sequence.prompt_length == 0 || sequence.target_length() == 0) {
    refuse(record, "prompt and target must have at least one token each; lengthen them");
  }
  check_tokens(record, sequence.whole.tokens, limits);
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
  const std::int32_t text_end = num_code_points(text);
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

UnitSource unit_source(const Sequence& sequence) {
  return {
      .text = sequence.whole.text,
      .prompt = sequence.prompt_text(),
      .tokens = sequence.whole.tokens,
      .prompt_length = sequence.prompt_length};
}

// Without units and targets.
Sample sample_of(const DatasetRecord& record, Passage whole, std::int64_t prompt_length) {
  Sample sample{
      .index = record.index,
      .record_index = record.index,
      .record = {},
      .prompt_length = prompt_length};
  sample.record.id = record.id;
  sample.record.text = std::move(whole.text);
  sample.record.tokens = std::move(whole.tokens);
  return sample;
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
    result.context = chat_template->locate(chat.chat, *result.prompt, chat.context);
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
      includes_target_(options.include_target),
      max_new_tokens_(options.max_new_tokens),
      units_(tokenizer, options),
      limits_(limits),
      chat_template_(chat_template) {}

PromptUnits SamplePreparer::prompt_units(
    const DatasetRecord& record, const UnitSource& source) const {
  PromptUnits units = units_.prompt_units(record, source);
  if (units.units.empty()) {
    refuse(record, "the prompt has no unit to explain the target with; choose other explain.units");
  }
  return units;
}

Sample SamplePreparer::prepare(const DatasetRecord& record) const {
  if (record.chat != nullptr) return prepare(rendered(record, chat_template_));
  check_has_tokenizer(record, tokenizer_, limits_);
  Sequence sequence = sequence_of(record, tokenizer_);
  check_fits(record, sequence, limits_);
  check_evidence(record, sequence.whole.text);

  const UnitSource source = unit_source(sequence);
  PromptUnits units = prompt_units(record, source);
  std::vector<UnitRecord> target_units;
  if (includes_target_) target_units = units_.target_units(source);
  std::vector<TargetRecord> targets = targets_of(sequence);

  Sample sample = sample_of(record, std::move(sequence.whole), sequence.prompt_length);
  sample.num_target_units = std::ssize(target_units);
  sample.num_without_token = units.num_without_token;
  sample.record.units = std::move(units.units);
  std::ranges::move(target_units, std::back_inserter(sample.record.units));
  sample.record.targets = std::move(targets);
  sample.record.evidence = record.evidence;
  return sample;
}

Sample SamplePreparer::prepare_prompt(const DatasetRecord& record) const {
  if (record.chat != nullptr) return prepare_prompt(rendered(record, chat_template_));
  check_prompt_not_empty(record);
  check_has_tokenizer(record, tokenizer_, limits_);
  Passage prompt = prompt_of(record, tokenizer_);
  if (prompt.tokens.empty()) refuse(record, "the prompt must have at least one token; lengthen it");
  check_tokens(record, prompt.tokens, limits_);
  if (limits_.max_positions > 0 && std::ssize(prompt.tokens) > limits_.max_positions) {
    refuse(
        record,
        "the model takes at most {} tokens, which leaves no room for an answer; shorten the "
        "prompt: {}",
        limits_.max_positions,
        std::ssize(prompt.tokens));
  }
  // Better refused now than after the model has answered; positions may lie in the answer.
  if (!record.unit_tokens) {
    prompt_units(
        record,
        {.text = prompt.text,
         .prompt = prompt.text,
         .tokens = prompt.tokens,
         .prompt_length = std::ssize(prompt.tokens)});
  }
  const std::int64_t prompt_length = std::ssize(prompt.tokens);
  return sample_of(record, std::move(prompt), prompt_length);
}

GenerationPrompt SamplePreparer::generation_prompt(const Sample& prompt) const {
  GenerationPrompt result{
      .record_index = prompt.record_index, .tokens = {}, .max_new_tokens = max_new_tokens_};
  for (const TokenRecord& token : prompt.record.tokens)
    result.tokens.push_back(token.id);
  // The last token of an answer is fed to nobody.
  const std::int64_t room = limits_.max_positions - prompt.prompt_length + 1;
  if (limits_.max_positions > 0) result.max_new_tokens = std::min(result.max_new_tokens, room);
  return result;
}

std::string SamplePreparer::text_of(std::span<const std::int32_t> token_ids) const {
  return passage_of_ids(tokenizer_, token_ids).text;
}

}  // namespace limn
