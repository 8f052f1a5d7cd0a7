#include "coordinator/sentence_piece_tokenizer.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "coordinator/checked_json.h"
#include "coordinator/code_points.h"
#include "coordinator/sentence_piece_model.h"
#include "storage/error.h"
#include "storage/json_file.h"

namespace limn {

namespace {

constexpr std::string_view kWordMark = "\xE2\x96\x81";  // U+2581, SentencePiece's space

// "<s>", or an object with the same under "content".
std::string token_content(const CheckedJson& token) {
  return token.value().is_object() ? token.at("content").string() : token.string();
}

// The id of the token at a text's begin ("bos") or end ("eos"), nothing where none is added.
std::optional<std::int32_t> id_at_end(
    const std::optional<CheckedJson>& config,
    const std::string& name,
    bool is_added_by_default,
    std::int32_t model_id,
    const SentencePieceModel& model) {
  const auto entry = [&](const std::string& key) {
    return config ? config->find(key) : std::optional<CheckedJson>();
  };
  const std::optional<CheckedJson> is_added = entry("add_" + name + "_token");
  if (!(is_added ? is_added->boolean() : is_added_by_default)) return std::nullopt;
  if (const std::optional<CheckedJson> token = entry(name + "_token")) {
    const std::string content = token_content(*token);
    const std::int32_t id = model.id_of(content);
    if (model.piece(id) != content) {
      token->refuse("must be a token of tokenizer.model, which is all that limn reads beside it");
    }
    return id;
  }
  if (model_id >= 0) return model_id;
  if (is_added) is_added->refuse("asks for a token that tokenizer.model does not have");
  return std::nullopt;
}

class SentencePieceTokenizer : public TextEncoder {
 public:
  SentencePieceTokenizer(
      std::unique_ptr<const SentencePieceModel> model, const std::optional<CheckedJson>& config)
      : model_(std::move(model)),
        first_(id_at_end(config, "bos", true, model_->bos_id(), *model_)),
        last_(id_at_end(config, "eos", false, model_->eos_id(), *model_)) {}

  std::vector<TokenRecord> encode(
      std::string_view text, SpecialTokens special_tokens) const override;

  std::int64_t vocab_size() const override { return model_->num_pieces(); }

  // Such as <s>.
  bool is_special(std::int32_t id) const override { return model_->is_control(id); }

  std::string token_text(std::int32_t id) const override;

 private:
  std::unique_ptr<const SentencePieceModel> model_;
  std::optional<std::int32_t> first_;
  std::optional<std::int32_t> last_;
};

// The characters that a range of bytes touches.
CharRange characters_of(
    const std::vector<std::int64_t>& offsets, std::int64_t byte_begin, std::int64_t byte_end) {
  const auto after = std::upper_bound(offsets.begin(), offsets.end(), byte_begin);
  const auto end = std::lower_bound(offsets.begin(), offsets.end(), byte_end);
  const auto begin = after - offsets.begin() - 1;
  return {
      static_cast<std::int32_t>(begin),
      static_cast<std::int32_t>(std::max(begin, end - offsets.begin()))};
}

std::vector<TokenRecord> SentencePieceTokenizer::encode(
    std::string_view text, SpecialTokens special_tokens) const {
  const std::vector<std::int64_t> offsets = code_point_offsets(text);
  const bool adds = special_tokens == SpecialTokens::Add;

  std::vector<TokenRecord> tokens;
  if (adds && first_) tokens.push_back({.id = *first_, .chars = {}});
  const std::size_t num_before = tokens.size();
  for (const SentencePiece& piece : model_->encode(text))
    tokens.push_back({piece.id, characters_of(offsets, piece.byte_begin, piece.byte_end)});
  // Of a character's bytes only the last one has its range.
  for (std::size_t i = tokens.size(); i > num_before + 1; --i) {
    TokenRecord& token = tokens[i - 2];
    const bool is_empty = token.chars.begin == token.chars.end;
    if (is_empty && model_->is_byte(token.id)) token.chars = tokens[i - 1].chars;
  }
  if (adds && last_) tokens.push_back({.id = *last_, .chars = {}});
  return tokens;
}

std::string SentencePieceTokenizer::token_text(std::int32_t id) const {
  check(0 <= id && id < vocab_size(), "there is no token of this id: {}", id);
  std::string text = model_->piece(id);
  if (model_->is_byte(id)) {
    const std::string byte = model_->decode(id);
    // The decoder makes a replacement character of a byte that is none on its own.
    return byte.size() == 1 ? byte : text;
  }
  for (std::size_t mark = text.find(kWordMark); mark != std::string::npos;
       mark = text.find(kWordMark, mark)) {
    text.replace(mark, kWordMark.size(), " ");
  }
  return text;
}

}  // namespace

std::unique_ptr<const TextEncoder> load_sentence_piece_tokenizer(
    const std::filesystem::path& folder) {
  auto model = load_sentence_piece_model(folder / "tokenizer.model");
  const std::filesystem::path config_file = folder / "tokenizer_config.json";
  if (!std::filesystem::exists(config_file)) {
    return std::make_unique<const SentencePieceTokenizer>(std::move(model), std::nullopt);
  }
  const nlohmann::json json = read_json(config_file);
  const CheckedJson config(json, config_file.string());
  return std::make_unique<const SentencePieceTokenizer>(std::move(model), config);
}

}  // namespace limn
