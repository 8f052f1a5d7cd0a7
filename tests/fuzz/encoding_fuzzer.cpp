// Whatever a text is: its tokens are of the vocabulary and lie in it. The first byte chooses the
// tokenizer.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string_view>
#include <vector>

#include "coordinator/code_points.h"
#include "coordinator/tokenizer.h"
#include "storage/error.h"

namespace {

std::vector<limn::Tokenizer> load_tokenizers() {
  std::vector<limn::Tokenizer> tokenizers;
  for (const char* const name :
       {"byte-level", "sentencepiece", "word-piece", "unigram", "sentencepiece-model"}) {
    tokenizers.push_back(
        limn::Tokenizer::load(std::filesystem::path(LIMN_TEST_DATA) / "tokenizers" / name));
  }
  return tokenizers;
}

void check_tokens(const limn::Tokenizer& tokenizer, std::string_view text) {
  const std::int64_t num_characters = limn::num_code_points(text);
  for (const limn::TokenRecord& token : tokenizer.encode(text, limn::SpecialTokens::Add)) {
    limn::check(0 <= token.id && token.id < tokenizer.vocab_size(), "no token's id: {}", token.id);
    const limn::CharRange& chars = token.chars;
    const bool is_special = chars.begin == -1 && chars.end == -1;
    const bool is_inside =
        0 <= chars.begin && chars.begin <= chars.end && chars.end <= num_characters;
    limn::check(is_special || is_inside, "no characters: [{}, {})", chars.begin, chars.end);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::vector<limn::Tokenizer> tokenizers = load_tokenizers();
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    check_tokens(tokenizers[data[0] % tokenizers.size()], text);
  } catch (const limn::DataError&) {  // not UTF-8
  }
  return 0;
}
