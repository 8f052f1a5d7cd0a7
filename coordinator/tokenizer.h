// Text to token ids and the characters that each covers.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/text_encoder.h"
#include "storage/sample_record.h"

namespace limn {

// Threads: immutable; any thread may encode.
class Tokenizer {
 public:
  // Whether `folder` has a file that load() reads.
  static bool is_in(const std::filesystem::path& folder);

  // Loads FOLDER/tokenizer.json (of Hugging Face), or where it is missing FOLDER/tokenizer.model
  // (of SentencePiece, see sentence_piece_tokenizer.h). What the file asks for and limn does not
  // know is refused by name. Throws IoError when both files are missing, DataError when one is
  // damaged or unsupported.
  static Tokenizer load(const std::filesystem::path& folder);

  // The tokens of `text`, with the character ranges that Python's `tokenizers` gives, or with those
  // that SentencePiece gives; none for the special tokens that are added at the ends. Throws
  // DataError when `text` is not UTF-8.
  std::vector<TokenRecord> encode(std::string_view text, SpecialTokens special_tokens) const {
    return encoder_->encode(text, special_tokens);
  }

  // One more than the largest token id.
  std::int64_t vocab_size() const { return encoder_->vocab_size(); }

  // Whether the file marks the token as special, as it does `<s>` and `<|im_start|>`.
  bool is_special(std::int32_t id) const { return encoder_->is_special(id); }

  // The token as a person reads it ("\u2581the" and "Gthe" are " the"); a lone byte as <0xE2>.
  // Requires: 0 <= id < vocab_size().
  std::string token_text(std::int32_t id) const { return encoder_->token_text(id); }

 private:
  explicit Tokenizer(std::unique_ptr<const TextEncoder> encoder);

  std::unique_ptr<const TextEncoder> encoder_;
};

// Of the files that Tokenizer::load reads, which decide over ids and texts; nothing where it finds
// none. Throws IoError.
std::optional<std::string> tokenizer_fingerprint(const std::filesystem::path& folder);

}  // namespace limn
