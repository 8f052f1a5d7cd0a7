// A sample ready to be explained: tokens, units and targets, checked against the model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>

#include "coordinator/chat_template.h"
#include "coordinator/dataset.h"
#include "coordinator/generation.h"
#include "coordinator/job.h"
#include "coordinator/tokenizer.h"
#include "coordinator/unit_maker.h"
#include "storage/sample_record.h"

namespace limn {

// What a model accepts.
struct ModelLimits {
  std::int64_t vocab_size = 0;
  std::int64_t max_positions = 0;  // tokens fed to the model; 0: no limit
  std::filesystem::path folder;    // of the model, for messages
};

struct Sample {
  std::int64_t index = 0;         // counts the samples of the job from 0
  std::int64_t record_index = 0;  // that of its record
  // Prompt followed by target. `delta` is empty, the targets' log_prob NaN.
  SampleRecord record;
  std::int64_t prompt_length = 0;      // tokens; the first target's position
  std::int64_t num_target_units = 0;   // the last ones: those of explain.include_target
  std::int64_t num_without_token = 0;  // PromptUnits::num_without_token

  // Tokens that the model is run on: all but the last, whose key no scored row can see.
  std::int64_t fed_length() const { return static_cast<std::int64_t>(record.tokens.size()) - 1; }
};

// Turns records into samples. Threads: immutable; any thread may prepare.
class SamplePreparer {
 public:
  // Without a tokenizer only records of token ids can be prepared, without a chat template no
  // conversations. Borrows: `tokenizer` and `chat_template`, which may be null.
  SamplePreparer(
      const Tokenizer* tokenizer,
      const ExplainOptions& options,
      const ModelLimits& limits,
      const ChatTemplate* chat_template = nullptr);

  // Encodes prompt and target together and splits where the prompt's own encoding ends; trailing
  // white space of the prompt goes to the target (the convention of lm-evaluation-harness). A text
  // that meets token ids is encoded alone; ids are spelt out by the tokenizer. Special tokens that
  // the tokenizer puts at the end are left out. A conversation is rendered, and prompt and target
  // are then encoded each on its own, without special tokens: what a model would go on from. Units
  // are UnitMaker's, with explain.include_target the target's behind the prompt's. Throws IoError
  // naming the model's folder when a text needs the tokenizer that is not there; DataError naming
  // the record's place: an empty prompt or target, a token the model does not have, a sequence
  // longer than the model allows, evidence outside the text, what UnitMaker refuses, no unit in the
  // prompt.
  Sample prepare(const DatasetRecord& record) const;

  // The prompt alone, its white space at the end kept, for a model that will give the target: no
  // units, no targets. Throws DataError naming the record's place: an empty prompt, a token the
  // model does not have, no room for an answer, and what prepare() will refuse of the prompt's
  // units once the answer is there.
  Sample prepare_prompt(const DatasetRecord& record) const;

  // What the model is asked: the tokens of a prompt that prepare_prompt() made, and how many more
  // job and model allow.
  GenerationPrompt generation_prompt(const Sample& prompt) const;

  // Tokens as text; empty without a tokenizer.
  std::string text_of(std::span<const std::int32_t> token_ids) const;

 private:
  PromptUnits prompt_units(const DatasetRecord& record, const UnitSource& source) const;

  const Tokenizer* tokenizer_;
  bool includes_target_;
  std::int64_t max_new_tokens_;  // where the model gives the targets
  UnitMaker units_;
  ModelLimits limits_;
  const ChatTemplate* chat_template_;
};

}  // namespace limn
