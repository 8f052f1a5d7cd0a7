#include "coordinator/tokenizer.h"

#include <utility>

#include "coordinator/json_tokenizer.h"

namespace limn {

Tokenizer::Tokenizer(std::unique_ptr<const TextEncoder> encoder) : encoder_(std::move(encoder)) {}

Tokenizer Tokenizer::load(const std::filesystem::path& folder) {
  return Tokenizer(load_json_tokenizer(folder / "tokenizer.json"));
}

}  // namespace limn
