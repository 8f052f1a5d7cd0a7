// Words as the tokens that are likeliest together.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "coordinator/byte_trie.h"
#include "coordinator/checked_json.h"
#include "coordinator/vocabulary.h"
#include "coordinator/word_token.h"

namespace limn {

// The model kind "Unigram". Threads: immutable.
class Unigram {
 public:
  // Throws DataError naming the first key of `model` that is wrong or not supported.
  explicit Unigram(const CheckedJson& model);

  const Vocabulary& vocabulary() const { return vocabulary_; }

  bool is_unknown(std::int32_t id) const { return unknown_id_ == id; }

  // What encoding writes on: one for each thread, used for many words.
  class Workspace {
    friend class Unigram;

    // The best way from the word's begin to a byte: its last token, and where that begins.
    struct Path {
      double score = 0;
      std::int64_t token_begin = -1;  // -1: there is no way yet
      std::int32_t token = 0;
    };

    std::vector<Path> paths_;       // by the byte behind
    std::vector<WordToken> words_;  // from the last to the first
  };

  // Appends the tokens of `word` whose scores' sum is the largest (Viterbi); of equal sums, the one
  // found first from left to right, shorter tokens first, as in Python's `tokenizers`. Neighbouring
  // unknown characters become one: the tokens of their bytes, or the unknown token. Requires:
  // `word` is valid UTF-8. Throws DataError when the unknown token is needed and there is none.
  void encode(std::string_view word, Workspace& workspace, std::vector<WordToken>& tokens) const;

 private:
  void find_paths(std::string_view word, std::vector<Workspace::Path>& paths) const;
  void add_unknown(
      std::string_view word, const ByteRange& range, std::vector<WordToken>& tokens) const;
  std::int32_t unknown_id(std::string_view part) const;

  std::vector<double> scores_;  // by id
  Vocabulary vocabulary_;
  ByteTrie trie_;
  std::optional<std::int32_t> unknown_id_;
  double unknown_score_ = 0;
  std::optional<std::array<std::int32_t, 256>>
      byte_ids_;  // if unknown characters fall back to them
};

}  // namespace limn
