// Hugging Face tokenizers (tokenizer.json): text to token ids and the characters that each covers.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "storage/sample_record.h"

namespace limn {

enum class SpecialTokens { Omit, Add };

// Threads: immutable; any thread may encode.
class Tokenizer {
 public:
  // Loads FOLDER/tokenizer.json. What the file asks for and limn does not know is refused by name.
  // Throws IoError when the file is missing, DataError when it is damaged or unsupported.
  static Tokenizer load(const std::filesystem::path& folder);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  // The tokens of `text`, with the character ranges that Python's `tokenizers` gives; none for the
  // special tokens that the post-processor adds. Throws DataError when `text` is not UTF-8.
  std::vector<TokenRecord> encode(std::string_view text, SpecialTokens special_tokens) const;

  // One more than the largest token id.
  std::int64_t vocab_size() const;

  // Whether the file marks the token as special, as it does `<s>` and `<|im_start|>`.
  bool is_special(std::int32_t id) const;

  // The token as a person reads it ("\u2581the" and "Gthe" are " the"); a lone byte as <0xE2>.
  // Requires: 0 <= id < vocab_size().
  std::string token_text(std::int32_t id) const;

 private:
  class Impl;
  explicit Tokenizer(std::unique_ptr<const Impl> impl);
  std::unique_ptr<const Impl> impl_;
};

}  // namespace limn
