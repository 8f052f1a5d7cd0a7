#include "coordinator/token_model.h"

#include <string>
#include <utility>

namespace limn {

namespace {

using Kind = std::variant<BytePairEncoding, Unigram, WordPiece, WordLevel>;

Kind parse_kind(const CheckedJson& model) {
  const CheckedJson type = model.at("type");
  const std::string& name = type.string();
  if (name == "BPE") return Kind(std::in_place_type<BytePairEncoding>, model);
  if (name == "Unigram") return Kind(std::in_place_type<Unigram>, model);
  if (name == "WordPiece") return Kind(std::in_place_type<WordPiece>, model);
  if (name == "WordLevel") return Kind(std::in_place_type<WordLevel>, model);
  type.refuse("is not supported");
}

}  // namespace

TokenModel::TokenModel(const CheckedJson& model) : kind_(parse_kind(model)) {}

const Vocabulary& TokenModel::vocabulary() const {
  return std::visit([](const auto& kind) -> const Vocabulary& { return kind.vocabulary(); }, kind_);
}

bool TokenModel::takes_spelling_of_text(std::int32_t id) const {
  const auto* const unigram = std::get_if<Unigram>(&kind_);
  return unigram != nullptr && unigram->is_unknown(id);
}

void TokenModel::encode(
    std::string_view word, Workspace& workspace, std::vector<WordToken>& tokens) const {
  const auto encode_word = [&]<typename Model>(const Model& model) {
    model.encode(word, std::get<typename Model::Workspace>(workspace), tokens);
  };
  std::visit(encode_word, kind_);
}

}  // namespace limn
