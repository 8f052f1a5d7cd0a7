// From a token as the model knows it to text as a person reads it.
#pragma once

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

  // The token's text. Bytes that are no whole character read <0xE2>. What a decoder does to the
  // ends of a whole text (drop its first space) is left out.
  std::string decode(std::string_view token) const;

 private:
  struct ByteLevel {};

  struct ByteFallback {};

  struct Replace {
    TextPattern pattern;
    std::string content;
  };

  using Step = std::variant<ByteLevel, ByteFallback, Replace>;

  void add_steps(const CheckedJson& decoder, int depth);

  static std::string apply(const ByteLevel&, std::string token);
  static std::string apply(const ByteFallback&, std::string token);
  static std::string apply(const Replace& replace, std::string token);

  std::vector<Step> steps_;
};

}  // namespace limn
