// A sample ready to be explained: tokens, units and targets, checked against the model.
#pragma once

#include <cstdint>
#include <optional>

#include "coordinator/chat_template.h"
#include "coordinator/dataset.h"
#include "coordinator/job.h"
#include "coordinator/tokenizer.h"
#include "storage/sample_record.h"

namespace limn {

// What a model accepts.
struct ModelLimits {
  std::int64_t vocab_size = 0;
  std::int64_t max_positions = 0;  // tokens fed to the model; 0: no limit
};

struct Sample {
  std::int64_t index = 0;  // in the dataset
  // Prompt followed by target. `delta` is empty, the targets' log_prob NaN.
  SampleRecord record;
  std::int64_t prompt_length = 0;  // tokens; the first target's position

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
  // the tokenizer puts at the end are left out. Words and sentences that get no token are no units.
  // A conversation is rendered, and prompt and target are then encoded each on its own, without
  // special tokens: what a model would go on from.
  // Throws DataError naming the record's place: an empty prompt or target, a token the model does
  // not have, a sequence longer than the model allows, evidence or a unit outside the text, a given
  // unit without token, no unit at all.
  Sample prepare(const DatasetRecord& record) const;

 private:
  const Tokenizer* tokenizer_;
  ExplainOptions options_;
  ModelLimits limits_;
  const ChatTemplate* chat_template_;
};

}  // namespace limn
