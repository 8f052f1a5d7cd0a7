// What every kind of tokenizer does.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "storage/sample_record.h"

namespace limn {

enum class SpecialTokens { Omit, Add };

// Its functions are those of Tokenizer (tokenizer.h). Threads: immutable.
class TextEncoder {
 public:
  virtual ~TextEncoder() = default;

  virtual std::vector<TokenRecord> encode(
      std::string_view text, SpecialTokens special_tokens) const = 0;
  virtual std::int64_t vocab_size() const = 0;
  virtual bool is_special(std::int32_t id) const = 0;
  virtual std::string token_text(std::int32_t id) const = 0;

 protected:
  TextEncoder() = default;
  TextEncoder(const TextEncoder&) = default;
  TextEncoder& operator=(const TextEncoder&) = default;
  TextEncoder(TextEncoder&&) = default;
  TextEncoder& operator=(TextEncoder&&) = default;
};

}  // namespace limn
