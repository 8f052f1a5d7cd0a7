// What a tokenizer does to its tokens last: trim their characters, add special tokens.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "coordinator/checked_json.h"
#include "storage/sample_record.h"

namespace limn {

// How many white space characters a token's text begins and ends with.
struct SpaceCount {
  std::int32_t leading = 0;
  std::int32_t trailing = 0;
};

// The byte alphabet's space counts, too. Requires: `token` is valid UTF-8.
SpaceCount count_spaces(std::string_view token);

// The entry "post_processor" of a tokenizer file. Threads: immutable.
class PostProcessor {
 public:
  // Does nothing.
  PostProcessor() = default;

  // `vocab_size` is one more than the largest id. Throws DataError when the kind, or one inside a
  // Sequence, is not supported.
  PostProcessor(const CheckedJson& post_processor, std::int64_t vocab_size);

  bool trims() const { return !trims_.empty(); }

  // Takes the white space at a token's ends from its characters. Requires: `index` is its place
  // among the tokens of the text.
  void trim(TokenRecord& token, std::int64_t index, const SpaceCount& spaces) const;

  // The special tokens before and after the text.
  const std::vector<std::int32_t>& tokens_before() const { return tokens_before_; }

  const std::vector<std::int32_t>& tokens_after() const { return tokens_after_; }

 private:
  struct Trim {
    bool keeps_prefix_space;  // of the first token: the tokenizer put it there
  };

  void add_steps(const CheckedJson& post_processor, int depth);
  void add_template(const CheckedJson& post_processor);
  void add_frame(const CheckedJson& post_processor);
  std::vector<std::int32_t> special_ids(const CheckedJson& template_, const CheckedJson& id) const;
  std::int32_t checked_id(const CheckedJson& id) const;

  std::int64_t vocab_size_ = 0;
  bool adds_tokens_ = false;
  std::vector<Trim> trims_;
  std::vector<std::int32_t> tokens_before_;
  std::vector<std::int32_t> tokens_after_;
};

}  // namespace limn
