#include "coordinator/json_tokenizer.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "coordinator/added_tokens.h"
#include "coordinator/checked_json.h"
#include "coordinator/normalizer.h"
#include "coordinator/pieced_text.h"
#include "coordinator/post_processor.h"
#include "coordinator/pre_tokenizer.h"
#include "coordinator/token_decoder.h"
#include "coordinator/token_model.h"
#include "storage/error.h"
#include "storage/json_file.h"

namespace limn {

namespace {

template <typename Part>
Part parse_part(const CheckedJson& document, const std::string& key) {
  const std::optional<CheckedJson> part = document.find(key);
  return part ? Part(*part) : Part();
}

PostProcessor parse_post_processor(const CheckedJson& document, std::int64_t vocab_size) {
  const std::optional<CheckedJson> part = document.find("post_processor");
  return part ? PostProcessor(*part, vocab_size) : PostProcessor();
}

std::vector<AddedToken> parse_added(
    const CheckedJson& document, const Vocabulary& vocabulary, const Normalizer& normalizer) {
  const std::optional<CheckedJson> tokens = document.find("added_tokens");
  return tokens ? parse_added_tokens(*tokens, vocabulary, normalizer) : std::vector<AddedToken>();
}

std::int64_t size_with(const Vocabulary& vocabulary, const std::vector<AddedToken>& added) {
  std::int64_t size = vocabulary.size();
  for (const AddedToken& token : added) {
    size = std::max<std::int64_t>(size, token.id + 1);
  }
  return size;
}

std::vector<AddedToken> select(const std::vector<AddedToken>& tokens, bool is_normalized) {
  std::vector<AddedToken> result;
  for (const AddedToken& token : tokens) {
    if (token.is_normalized == is_normalized) result.push_back(token);
  }
  return result;
}

std::unordered_map<std::int32_t, std::string> contents_by_id(
    const std::vector<AddedToken>& tokens) {
  std::unordered_map<std::int32_t, std::string> result;
  for (const AddedToken& token : tokens) {
    result.emplace(token.id, token.content);
  }
  return result;
}

std::unordered_set<std::int32_t> special_ids_of(const std::vector<AddedToken>& tokens) {
  std::unordered_set<std::int32_t> result;
  for (const AddedToken& token : tokens) {
    if (token.is_special) result.insert(token.id);
  }
  return result;
}

std::vector<SpaceCount> spaces_by_id(const Vocabulary& vocabulary) {
  std::vector<SpaceCount> result(static_cast<std::size_t>(vocabulary.size()));
  for (std::int32_t id = 0; id < vocabulary.size(); ++id) {
    const std::string* const token = vocabulary.token(id);
    if (token != nullptr) result[static_cast<std::size_t>(id)] = count_spaces(*token);
  }
  return result;
}

void check_document(const CheckedJson& document) {
  document.allow_keys(
      {"version",
       "truncation",
       "padding",
       "added_tokens",
       "normalizer",
       "pre_tokenizer",
       "post_processor",
       "decoder",
       "model"});
  // Truncation and padding are what the file's maker last did to a batch; transformers does not
  // heed them, either.
  const std::optional<CheckedJson> version = document.find("version");
  if (version && version->string() != "1.0") version->refuse("must be 1.0");
}

// The stages of a tokenizer file, in the order in which a text passes them.
class JsonTokenizer : public TextEncoder {
 public:
  explicit JsonTokenizer(const CheckedJson& document);

  std::vector<TokenRecord> encode(
      std::string_view text, SpecialTokens special_tokens) const override;

  std::int64_t vocab_size() const override { return vocab_size_; }

  bool is_special(std::int32_t id) const override { return special_ids_.contains(id); }

  std::string token_text(std::int32_t id) const override;

 private:
  std::vector<TokenRecord> encode_pieces(const PiecedText& text) const;
  SpaceCount spaces_of(const TextPiece& piece, std::int32_t id, std::string_view covered) const;

  TokenModel model_;
  Normalizer normalizer_;
  std::vector<AddedToken> added_tokens_;
  std::int64_t vocab_size_;
  AddedTokenFinder raw_token_finder_;
  AddedTokenFinder normalized_token_finder_;
  PreTokenizer pre_tokenizer_;
  PostProcessor post_processor_;
  TokenDecoder decoder_;
  std::vector<SpaceCount> spaces_;                                // of the model's tokens, by id
  std::unordered_map<std::int32_t, std::string> added_contents_;  // by id
  std::unordered_set<std::int32_t> special_ids_;
};

JsonTokenizer::JsonTokenizer(const CheckedJson& document)
    : model_(document.at("model")),
      normalizer_(parse_part<Normalizer>(document, "normalizer")),
      added_tokens_(parse_added(document, model_.vocabulary(), normalizer_)),
      vocab_size_(size_with(model_.vocabulary(), added_tokens_)),
      raw_token_finder_(select(added_tokens_, /*is_normalized=*/false)),
      normalized_token_finder_(select(added_tokens_, /*is_normalized=*/true)),
      pre_tokenizer_(parse_part<PreTokenizer>(document, "pre_tokenizer")),
      post_processor_(parse_post_processor(document, vocab_size_)),
      decoder_(parse_part<TokenDecoder>(document, "decoder")),
      spaces_(spaces_by_id(model_.vocabulary())),
      added_contents_(contents_by_id(added_tokens_)),
      special_ids_(special_ids_of(added_tokens_)) {}

std::vector<TokenRecord> JsonTokenizer::encode(
    std::string_view text, SpecialTokens special_tokens) const {
  PiecedText pieces(text);
  raw_token_finder_.cut_at_tokens(pieces);
  normalizer_.normalize(pieces);
  normalized_token_finder_.cut_at_tokens(pieces);
  pre_tokenizer_.pre_tokenize(pieces);
  std::vector<TokenRecord> tokens = encode_pieces(pieces);

  if (special_tokens == SpecialTokens::Add) {
    const auto record = [](std::int32_t id) { return TokenRecord{.id = id, .chars = {}}; };
    const std::vector<std::int32_t>& before = post_processor_.tokens_before();
    const std::vector<std::int32_t>& after = post_processor_.tokens_after();
    std::vector<TokenRecord> result;
    result.reserve(before.size() + tokens.size() + after.size());
    std::transform(before.begin(), before.end(), std::back_inserter(result), record);
    result.insert(result.end(), tokens.begin(), tokens.end());
    std::transform(after.begin(), after.end(), std::back_inserter(result), record);
    return result;
  }
  return tokens;
}

std::vector<TokenRecord> JsonTokenizer::encode_pieces(const PiecedText& text) const {
  std::vector<TokenRecord> tokens;
  std::vector<WordToken> word_tokens;
  TokenModel::Workspace workspace;
  for (const TextPiece& piece : text.pieces()) {
    const AlignedView word = text.view(piece);
    word_tokens.clear();
    if (piece.token != TextPiece::kNoToken) {
      word_tokens.push_back({piece.token, {0, static_cast<std::int64_t>(word.bytes.size())}});
    } else {
      model_.encode(word.bytes, workspace, word_tokens);
    }
    for (const WordToken& word_token : word_tokens) {
      const auto first = static_cast<std::size_t>(word_token.bytes.begin);
      const auto last = static_cast<std::size_t>(word_token.bytes.end - 1);
      TokenRecord& token = tokens.emplace_back();
      token = {word_token.id, {word.origin[first], word.origin[last] + 1}};
      if (!post_processor_.trims()) continue;
      const std::string_view covered = word.bytes.substr(first, last + 1 - first);
      const auto index = static_cast<std::int64_t>(tokens.size()) - 1;
      post_processor_.trim(token, index, spaces_of(piece, token.id, covered));
    }
  }
  return tokens;
}

SpaceCount JsonTokenizer::spaces_of(
    const TextPiece& piece, std::int32_t id, std::string_view covered) const {
  // An added token may have taken white space of the text that is not in its own content.
  const bool is_spelled_by_vocabulary =
      piece.token == TextPiece::kNoToken && !model_.takes_spelling_of_text(id);
  return is_spelled_by_vocabulary ? spaces_[static_cast<std::size_t>(id)] : count_spaces(covered);
}

std::string JsonTokenizer::token_text(std::int32_t id) const {
  check(0 <= id && id < vocab_size_, "there is no token of this id: {}", id);
  const auto added = added_contents_.find(id);
  if (added != added_contents_.end()) return added->second;
  const std::string* const token =
      id < model_.vocabulary().size() ? model_.vocabulary().token(id) : nullptr;
  return token == nullptr ? std::string() : decoder_.decode(*token);
}

}  // namespace

std::unique_ptr<const TextEncoder> load_json_tokenizer(const std::filesystem::path& file) {
  return make_json_tokenizer(read_json(file), file.string());
}

std::unique_ptr<const TextEncoder> make_json_tokenizer(
    const nlohmann::json& json, const std::string& file) {
  const CheckedJson document(json, file);
  check_document(document);
  return std::make_unique<const JsonTokenizer>(document);
}

}  // namespace limn
