// Whole words as tokens.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "coordinator/checked_json.h"
#include "coordinator/vocabulary.h"
#include "coordinator/word_token.h"

namespace limn {

// The model kind "WordLevel". Threads: immutable.
class WordLevel {
 public:
  // Throws DataError naming the first key of `model` that is wrong or not supported.
  explicit WordLevel(const CheckedJson& model);

  const Vocabulary& vocabulary() const { return vocabulary_; }

  struct Workspace {};

  // Appends the token of `word`: its own, or the unknown one. Throws DataError when the unknown
  // token is needed and is not in the vocabulary. Requires: `word` is not empty.
  void encode(std::string_view word, Workspace& workspace, std::vector<WordToken>& tokens) const;

 private:
  Vocabulary vocabulary_;
  UnknownToken unknown_;
};

}  // namespace limn
