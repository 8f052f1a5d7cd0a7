// Makes the units of a sample, of the kind that a job asks for.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "coordinator/dataset.h"
#include "coordinator/job.h"
#include "coordinator/text_pattern.h"
#include "coordinator/tokenizer.h"
#include "storage/sample_record.h"

namespace limn {

// What units are made from. Borrows: all of it.
struct UnitSource {
  std::string_view text;                // prompt, then target; empty where ids meet no tokenizer
  std::string_view prompt;              // what `text` begins with
  std::span<const TokenRecord> tokens;  // of `text`
  std::int64_t prompt_length = 0;       // tokens
};

struct PromptUnits {
  std::vector<UnitRecord> units;
  // Words, sentences and their like that hold a letter or a digit and are no units all the same:
  // the token that they are a part of begins before them.
  std::int64_t num_without_token = 0;
};

// Threads: immutable; any thread may make units.
class UnitMaker {
 public:
  // Borrows: `tokenizer`, which may be null. Throws DataError when units of UnitKind::Delimiter
  // have no delimiter, or one that parse_delimiter() refuses.
  UnitMaker(const Tokenizer* tokenizer, const ExplainOptions& options);

  // Tokens that the tokenizer's file marks as special are in no unit, wherever they come from, but
  // for those of given positions; text is cut on both sides of them. Throws DataError naming the
  // record's place: a range outside the prompt, a given unit without token, no context where
  // explain.units_over asks for it, units of text where there is none.
  PromptUnits prompt_units(const DatasetRecord& record, const UnitSource& source) const;

  // One for each token of the target, but for special ones.
  std::vector<UnitRecord> target_units(const UnitSource& source) const;

 private:
  std::vector<TokenRecord> without_special(std::span<const TokenRecord> tokens) const;
  std::vector<CharRange> parts_with_units(
      const DatasetRecord& record, const UnitSource& source) const;
  std::vector<CharRange> cut(
      const DatasetRecord& record, std::string_view text, std::int64_t num_pieces) const;
  PromptUnits units_of_text(const DatasetRecord& record, const UnitSource& source) const;
  std::vector<UnitRecord> token_units(const DatasetRecord& record, const UnitSource& source) const;
  std::vector<UnitRecord> given_units(const DatasetRecord& record, const UnitSource& source) const;

  const Tokenizer* tokenizer_;
  ExplainOptions options_;
  std::shared_ptr<const TextPattern> delimiter_;  // shared with copies of this; may be null
};

}  // namespace limn
