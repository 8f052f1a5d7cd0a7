#include "coordinator/tokenizer.h"

#include <utility>

#include <fmt/format.h>

#include "coordinator/json_tokenizer.h"
#include "coordinator/sentence_piece_tokenizer.h"
#include "storage/error.h"
#include "storage/fingerprint.h"

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

std::optional<std::string> tokenizer_fingerprint(const std::filesystem::path& folder) {
  if (!Tokenizer::is_in(folder)) return std::nullopt;
  if (std::filesystem::exists(folder / kJsonFile)) return file_fingerprint(folder / kJsonFile);
  Fingerprint fingerprint;
  fingerprint.add(file_fingerprint(folder / kSentencePieceFile));
  // What the tokenizer adds at the beginning and the end.
  const std::filesystem::path config = folder / "tokenizer_config.json";
  if (std::filesystem::exists(config)) fingerprint.add(file_fingerprint(config));
  return fingerprint.text();
}

}  // namespace limn
