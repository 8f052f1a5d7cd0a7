// Tokens that are found in the text as they are spelled, before the model sees it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/byte_trie.h"
#include "coordinator/checked_json.h"
#include "coordinator/normalizer.h"
#include "coordinator/pieced_text.h"
#include "coordinator/vocabulary.h"

namespace limn {

struct AddedToken {
  std::int32_t id = 0;
  std::string content;
  std::string spelling;  // looked for in the text: the content, normalized if that is asked for
  bool is_single_word = false;  // found only where no letter or digit stands next to it
  bool strips_left = false;     // takes the white space before it
  bool strips_right = false;    // takes the white space after it
  bool is_normalized = false;   // looked for in the normalized text, else in the raw one
  bool is_special = false;      // stands for no text: a beginning, an end, whose turn it is
};

// The entry "added_tokens" of a tokenizer file. Throws DataError when a token has not the id that
// Python's `tokenizers` gives it (its own in `vocabulary`, or else the next one after all others),
// or when two are alike.
std::vector<AddedToken> parse_added_tokens(
    const CheckedJson& tokens, const Vocabulary& vocabulary, const Normalizer& normalizer);

// Finds added tokens in a text. Threads: immutable.
class AddedTokenFinder {
 public:
  explicit AddedTokenFinder(std::vector<AddedToken> tokens);

  // Cuts every piece at the tokens in it: the leftmost first, of several there the longest.
  void cut_at_tokens(PiecedText& text) const;

 private:
  // The longest token that `text` begins with; null if there is none.
  const AddedToken* longest_at_begin(std::string_view text) const;
  void cut_piece(std::string_view text, std::vector<TextPiece>& parts) const;

  std::vector<AddedToken> tokens_;
  ByteTrie trie_;  // of the spellings, to their places in tokens_
  std::array<bool, 256> begins_token_ = {};
};

}  // namespace limn
