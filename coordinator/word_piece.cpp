#include "coordinator/word_piece.h"

#include "coordinator/code_points.h"

namespace limn {

namespace {

ByteTrie trie_of(const Vocabulary& vocabulary) {
  ByteTrie trie;
  for (std::int32_t id = 0; id < vocabulary.size(); ++id) {
    const std::string* const token = vocabulary.token(id);
    if (token != nullptr && !token->empty()) trie.insert(*token, id);
  }
  return trie;
}

std::optional<ByteTrie::Node> node_of(std::string_view prefix, const ByteTrie& trie) {
  ByteTrie::Node node = ByteTrie::kRoot;
  for (const char byte : prefix) {
    const ByteTrie::Edge* const edge = trie.find(node, byte);
    if (edge == nullptr) return std::nullopt;
    node = edge->target;
  }
  return node;
}

}  // namespace

WordPiece::WordPiece(const CheckedJson& model)
    : vocabulary_(model.at("vocab")),
      unknown_(model.at("unk_token").string(), vocabulary_),
      most_characters_(model.at("max_input_chars_per_word").integer()),
      trie_(trie_of(vocabulary_)),
      continuation_(node_of(model.at("continuing_subword_prefix").string(), trie_)) {
  model.allow_keys(
      {"type", "vocab", "unk_token", "max_input_chars_per_word", "continuing_subword_prefix"});
}

void WordPiece::encode(
    std::string_view word, Workspace& /*workspace*/, std::vector<WordToken>& tokens) const {
  const std::size_t num_before = tokens.size();
  if (num_code_points(word) <= most_characters_ && add_pieces(word, tokens)) return;
  tokens.resize(num_before);
  tokens.push_back({unknown_.id_for(word), {0, static_cast<std::int64_t>(word.size())}});
}

bool WordPiece::add_pieces(std::string_view word, std::vector<WordToken>& tokens) const {
  const auto size = static_cast<std::int64_t>(word.size());
  for (std::int64_t begin = 0; begin < size;) {
    const std::optional<ByteTrie::Node> node = begin == 0 ? ByteTrie::kRoot : continuation_;
    if (!node) return false;
    std::optional<WordToken> token =
        longest_at_begin(*node, word.substr(static_cast<std::size_t>(begin)));
    if (!token) return false;
    token->bytes = {begin, begin + token->bytes.end};
    begin = token->bytes.end;
    tokens.push_back(*token);
  }
  return true;
}

std::optional<WordToken> WordPiece::longest_at_begin(
    ByteTrie::Node node, std::string_view text) const {
  std::optional<WordToken> longest;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const ByteTrie::Edge* const edge = trie_.find(node, text[i]);
    if (edge == nullptr) break;
    if (edge->value != ByteTrie::kNoValue) {
      longest = {edge->value, {0, static_cast<std::int64_t>(i) + 1}};
    }
    node = edge->target;
  }
  return longest;
}

}  // namespace limn
