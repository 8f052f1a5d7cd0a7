#include "coordinator/added_tokens.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include <fmt/format.h>
#include <unicode/uchar.h>
#include <unicode/utf8.h>

#include "storage/error.h"

namespace limn {

namespace {

std::int64_t edge_of(std::int64_t node, char byte) {
  return (node << 8) | static_cast<unsigned char>(byte);
}

bool is_white_space(UChar32 character) {
  return u_isUWhiteSpace(character) != 0;
}

// UTS #18's \w.
bool is_word_character(UChar32 character) {
  constexpr std::uint32_t kMask = U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK;
  return u_isUAlphabetic(character) || (U_GET_GC_MASK(character) & kMask) != 0 ||
         u_hasBinaryProperty(character, UCHAR_JOIN_CONTROL);
}

UChar32 character_at(std::string_view text, std::int64_t& position) {
  UChar32 character = 0;
  U8_NEXT_UNSAFE(text.data(), position, character);
  return character;
}

UChar32 character_before(std::string_view text, std::int64_t& position) {
  UChar32 character = 0;
  U8_PREV_UNSAFE(text.data(), position, character);
  return character;
}

bool is_single_word(std::string_view text, ByteRange range) {
  const bool is_at_begin = range.begin == 0;
  const bool is_at_end = range.end == static_cast<std::int64_t>(text.size());
  return (is_at_begin || !is_word_character(character_before(text, range.begin))) &&
         (is_at_end || !is_word_character(character_at(text, range.end)));
}

std::int64_t begin_of_white_space(std::string_view text, std::int64_t end) {
  for (std::int64_t begin = end; begin > 0; end = begin) {
    if (!is_white_space(character_before(text, begin))) break;
  }
  return end;
}

std::int64_t end_of_white_space(std::string_view text, std::int64_t begin) {
  for (std::int64_t end = begin; end < static_cast<std::int64_t>(text.size()); begin = end) {
    if (!is_white_space(character_at(text, end))) break;
  }
  return begin;
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
    std::int64_t node = 0;
    for (const char byte : spelling) {
      const auto num_nodes = static_cast<std::int64_t>(token_at_.size());
      const auto [edge, is_new] = edges_.emplace(edge_of(node, byte), num_nodes);
      if (is_new) token_at_.push_back(-1);
      node = edge->second;
    }
    token_at_[static_cast<std::size_t>(node)] = static_cast<std::int64_t>(i);
  }
}

const AddedToken* AddedTokenFinder::longest_at_begin(std::string_view text) const {
  const AddedToken* longest = nullptr;
  std::int64_t node = 0;
  for (const char byte : text) {
    const auto edge = edges_.find(edge_of(node, byte));
    if (edge == edges_.end()) break;
    node = edge->second;
    const std::int64_t token = token_at_[static_cast<std::size_t>(node)];
    if (token >= 0) longest = &tokens_[static_cast<std::size_t>(token)];
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
