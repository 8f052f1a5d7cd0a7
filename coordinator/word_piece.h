// Words as the longest pieces that are tokens, from left to right.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/byte_trie.h"
#include "coordinator/checked_json.h"
#include "coordinator/vocabulary.h"
#include "coordinator/word_token.h"

namespace limn {

// The model kind "WordPiece". Threads: immutable.
class WordPiece {
 public:
  // Throws DataError naming the first key of `model` that is wrong or not supported.
  explicit WordPiece(const CheckedJson& model);

  const Vocabulary& vocabulary() const { return vocabulary_; }

  struct Workspace {};

  // Appends the tokens of `word`; the unknown one alone for a word that is too long or has a part
  // that is no token. Requires: `word` is valid UTF-8. Throws DataError when the unknown token is
  // needed and is not in the vocabulary.
  void encode(std::string_view word, Workspace& workspace, std::vector<WordToken>& tokens) const;

 private:
  // The longest token that `text` begins with, searched from a node of the trie.
  std::optional<WordToken> longest_at_begin(ByteTrie::Node node, std::string_view text) const;
  bool add_pieces(std::string_view word, std::vector<WordToken>& tokens) const;

  Vocabulary vocabulary_;
  UnknownToken unknown_;
  std::int64_t most_characters_;                // of a word that is not unknown
  ByteTrie trie_;                               // of all tokens
  std::optional<ByteTrie::Node> continuation_;  // where the tokens inside a word begin
};

}  // namespace limn
