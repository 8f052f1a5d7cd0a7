// From a token as the model knows it to text as a person reads it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "coordinator/checked_json.h"
#include "coordinator/text_pattern.h"

namespace limn {

// The entry "decoder" of a tokenizer file. Threads: immutable.
class TokenDecoder {
 public:
  // Changes nothing.
  TokenDecoder() = default;

  // Throws DataError when the kind, or one inside a Sequence, is not supported.
  explicit TokenDecoder(const CheckedJson& decoder);

  // The token's text inside a longer one. Bytes that are no whole character read <0xE2>. What a
  // decoder does to the ends of a whole text (drop its first space) is left out.
  std::string decode(std::string_view token) const;

 private:
  struct ByteLevel {};

  struct ByteFallback {};

  struct Replace {
    TextPattern pattern;
    std::string content;
  };

  // A token without the prefix begins a word.
  struct WordPiece {
    std::string prefix;
    bool cleans_up;  // takes the space before punctuation and contractions away
  };

  struct Strip {
    std::string character;
    std::int64_t num_left;
    std::int64_t num_right;
  };

  using Step = std::variant<ByteLevel, ByteFallback, Replace, WordPiece, Strip>;

  void add_steps(const CheckedJson& decoder, int depth);

  static std::string apply(const ByteLevel&, std::string token);
  static std::string apply(const ByteFallback&, std::string token);
  static std::string apply(const Replace& replace, std::string token);
  static std::string apply(const WordPiece& word_piece, std::string token);
  static std::string apply(const Strip& strip, std::string token);

  std::vector<Step> steps_;
  bool is_fused_ = false;  // what comes now is done to a whole text
};

}  // namespace limn
