// Whatever a tokenizer file says: it is refused, or it encodes.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <nlohmann/json.hpp>

#include "coordinator/json_tokenizer.h"
#include "storage/error.h"
#include "storage/json_file.h"

namespace {

constexpr std::string_view kTexts[] = {
    "a the ab\r\n\tThe \xC3\xA9\xCC\x81 1\xC2\xBD 2, \xE5\xB3\xB6!",
    "\xE2\x96\x81<s>aab\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA6[MASK] \xC4\xA0 \xEF\xAC\x81",
};

void encode_with(const limn::TextEncoder& tokenizer) {
  constexpr std::int64_t kMostIds = 100;
  for (const std::string_view text : kTexts) {
    try {
      tokenizer.encode(text, limn::SpecialTokens::Add);
    } catch (const limn::DataError&) {  // such as an unknown token that is missing
    }
  }
  for (std::int32_t id = 0; id < std::min(tokenizer.vocab_size(), kMostIds); ++id)
    tokenizer.token_text(id);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    encode_with(*limn::make_json_tokenizer(limn::parse_json(text, "fuzzed"), "fuzzed"));
  } catch (const limn::DataError&) {
  }
  return 0;
}
