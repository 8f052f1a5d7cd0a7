#include "coordinator/tokenizer.h"

#include <utility>

#include <fmt/format.h>

#include "coordinator/json_tokenizer.h"
#include "coordinator/sentence_piece_tokenizer.h"
#include "storage/error.h"

namespace limn {

Tokenizer::Tokenizer(std::unique_ptr<const TextEncoder> encoder) : encoder_(std::move(encoder)) {}

namespace {

constexpr const char* kJsonFile = "tokenizer.json";
constexpr const char* kSentencePieceFile = "tokenizer.model";

}  // namespace

bool Tokenizer::is_in(const std::filesystem::path& folder) {
  return std::filesystem::exists(folder / kJsonFile) ||
         std::filesystem::exists(folder / kSentencePieceFile);
}

Tokenizer Tokenizer::load(const std::filesystem::path& folder) {
  if (!is_in(folder)) {
    throw IoError(fmt::format(
        "{}: has neither {} nor {}; put the model's tokenizer there",
        folder.string(),
        kJsonFile,
        kSentencePieceFile));
  }
  if (std::filesystem::exists(folder / kJsonFile)) {
    return Tokenizer(load_json_tokenizer(folder / kJsonFile));
  }
  return Tokenizer(load_sentence_piece_tokenizer(folder));
}

}  // namespace limn
