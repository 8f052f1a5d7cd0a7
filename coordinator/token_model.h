// What a tokenizer does to its words: encode each as tokens.
#pragma once

#include <cstdint>
#include <string_view>
#include <tuple>
#include <variant>
#include <vector>

#include "coordinator/byte_pair_encoding.h"
#include "coordinator/checked_json.h"
#include "coordinator/unigram.h"
#include "coordinator/vocabulary.h"
#include "coordinator/word_level.h"
#include "coordinator/word_piece.h"
#include "coordinator/word_token.h"

namespace limn {

// The entry "model" of a tokenizer file. Threads: immutable.
class TokenModel {
 public:
  // Throws DataError naming the first key of `model` that is wrong or not supported.
  explicit TokenModel(const CheckedJson& model);

  const Vocabulary& vocabulary() const;

  // Whether the token is spelled by the text that it stands for, and not as in the vocabulary.
  bool takes_spelling_of_text(std::int32_t id) const;

  // What encoding writes on: one for each thread, used for many words.
  using Workspace = std::tuple<
      BytePairEncoding::Workspace,
      Unigram::Workspace,
      WordPiece::Workspace,
      WordLevel::Workspace>;

  // Appends the tokens of `word`, in its order. Requires: `word` is valid UTF-8 and not empty.
  // Throws DataError when a token for what is unknown is needed and the file has none.
  void encode(std::string_view word, Workspace& workspace, std::vector<WordToken>& tokens) const;

 private:
  std::variant<BytePairEncoding, Unigram, WordPiece, WordLevel> kind_;
};

}  // namespace limn
