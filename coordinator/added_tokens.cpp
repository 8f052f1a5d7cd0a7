#include "coordinator/added_tokens.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include <fmt/format.h>

#include "coordinator/character_classes.h"
#include "coordinator/code_points.h"

namespace limn {

namespace {

bool is_single_word(std::string_view text, const ByteRange& range) {
  auto begin = static_cast<std::size_t>(range.begin);
  auto end = static_cast<std::size_t>(range.end);
  return (begin == 0 || !is_word_character(previous_code_point(text, begin))) &&
         (end == text.size() || !is_word_character(next_code_point(text, end)));
}

std::int64_t begin_of_white_space(std::string_view text, std::int64_t end) {
  auto result = static_cast<std::size_t>(end);
  for (std::size_t begin = result; begin > 0; result = begin) {
    if (!is_unicode_space(previous_code_point(text, begin))) break;
  }
  return static_cast<std::int64_t>(result);
}

std::int64_t end_of_white_space(std::string_view text, std::int64_t begin) {
  auto result = static_cast<std::size_t>(begin);
  for (std::size_t end = result; end < text.size(); result = end) {
    if (!is_unicode_space(next_code_point(text, end))) break;
  }
  return static_cast<std::int64_t>(result);
}

std::string normalized(std::string_view content, const Normalizer& normalizer) {
  PiecedText text(content);
  normalizer.normalize(text);
  std::string result;
  for (const TextPiece& piece : text.pieces()) {
    result += text.view(piece).bytes;
  }
  return result;
}

AddedToken parse_added_token(const CheckedJson& token, const Normalizer& normalizer) {
  token.allow_keys({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
  AddedToken result;
  result.is_special = token.at("special").boolean();
  result.content = token.at("content").string();
  result.is_single_word = token.at("single_word").boolean();
  result.strips_left = token.at("lstrip").boolean();
  result.strips_right = token.at("rstrip").boolean();
  result.is_normalized = token.at("normalized").boolean();
  result.spelling = result.is_normalized ? normalized(result.content, normalizer) : result.content;
  if (result.spelling.empty())
    token.at("content").refuse("must not be empty, also not when normalized");
  return result;
}

}  // namespace

std::vector<AddedToken> parse_added_tokens(
    const CheckedJson& tokens, const Vocabulary& vocabulary, const Normalizer& normalizer) {
  std::vector<AddedToken> result;
  std::unordered_set<std::string> contents;
  std::unordered_set<std::string> spellings;  // "raw" or "normalized" before each
  std::int64_t next_id = vocabulary.num_tokens();
  for (const CheckedJson& token : tokens.elements()) {
    AddedToken& added = result.emplace_back(parse_added_token(token, normalizer));
    const std::string spelling = (added.is_normalized ? "normalized" : "raw") + added.spelling;
    if (!contents.insert(added.content).second || !spellings.insert(spelling).second) {
      token.at("content").refuse("must not be another added token's, too");
    }

    const std::optional<std::int32_t> known_id = vocabulary.find(added.content);
    const std::int64_t id = known_id ? *known_id : next_id++;
    if (token.at("id").integer() != id) {
      token.at("id").refuse(fmt::format("must be {}, as Python's tokenizers counts", id));
    }
    const bool is_taken = !known_id && id < vocabulary.size() &&
                          vocabulary.token(static_cast<std::int32_t>(id)) != nullptr;
    if (is_taken) token.at("id").refuse("must not be the id of another token, too");
    if (id >= Vocabulary::kMaxSize) token.at("id").refuse("is out of range");
    added.id = static_cast<std::int32_t>(id);
  }
  return result;
}

AddedTokenFinder::AddedTokenFinder(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    const std::string& spelling = tokens_[i].spelling;
    begins_token_[static_cast<unsigned char>(spelling.front())] = true;
    trie_.insert(spelling, static_cast<std::int32_t>(i));
  }
}

const AddedToken* AddedTokenFinder::longest_at_begin(std::string_view text) const {
  const AddedToken* longest = nullptr;
  ByteTrie::Node node = ByteTrie::kRoot;
  for (const char byte : text) {
    const ByteTrie::Edge* const edge = trie_.find(node, byte);
    if (edge == nullptr) break;
    node = edge->target;
    if (edge->value != ByteTrie::kNoValue) {
      longest = &tokens_[static_cast<std::size_t>(edge->value)];
    }
  }
  return longest;
}

void AddedTokenFinder::cut_at_tokens(PiecedText& text) const {
  if (tokens_.empty()) return;
  text.cut([&](const AlignedView& piece, std::vector<TextPiece>& parts) {
    cut_piece(piece.bytes, parts);
  });
}

void AddedTokenFinder::cut_piece(std::string_view text, std::vector<TextPiece>& parts) const {
  const auto size = static_cast<std::int64_t>(text.size());
  std::int64_t covered = 0;  // by parts
  for (std::int64_t position = 0; position < size;) {
    const auto begin = static_cast<std::size_t>(position);
    const AddedToken* token = nullptr;
    if (begins_token_[static_cast<unsigned char>(text[begin])]) {
      token = longest_at_begin(text.substr(begin));
    }
    if (token == nullptr) {
      ++position;
      continue;
    }

    // Also a token that is passed over here hides those that begin inside it.
    ByteRange range = {position, position + static_cast<std::int64_t>(token->spelling.size())};
    position = range.end;
    if (token->is_single_word && !is_single_word(text, range)) continue;
    // White space that a token before it took stays with that one.
    if (token->strips_left)
      range.begin = std::max(begin_of_white_space(text, range.begin), covered);
    if (token->strips_right) range.end = end_of_white_space(text, range.end);
    if (range.begin >= range.end) continue;
    if (covered < range.begin) parts.push_back({.range = {covered, range.begin}});
    parts.push_back({range, token->id});
    covered = range.end;
  }
  if (covered != size) parts.push_back({.range = {covered, size}});
}

}  // namespace limn
