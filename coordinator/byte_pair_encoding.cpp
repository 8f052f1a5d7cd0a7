#include "coordinator/byte_pair_encoding.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "coordinator/code_points.h"

namespace limn {

namespace {

constexpr std::int32_t kNoId = Vocabulary::kNoId;
constexpr std::uint64_t kEmptySlot = UINT64_MAX;
constexpr std::string_view kWordMark = "\xE2\x96\x81";  // U+2581, SentencePiece's space

std::uint64_t pair_of(std::int32_t left, std::int32_t right) {
  return (std::uint64_t{static_cast<std::uint32_t>(left)} << 32) |
         std::uint64_t{static_cast<std::uint32_t>(right)};
}

struct Merge {
  std::int32_t left;
  std::int32_t right;
  std::int32_t merged;
};

std::optional<Merge> find_merge(
    std::string_view left,
    std::string_view right,
    std::size_t prefix_size,
    const Vocabulary& vocabulary) {
  const std::optional<std::int32_t> left_id = vocabulary.find(left);
  const std::optional<std::int32_t> right_id = vocabulary.find(right);
  if (!left_id || !right_id || right.size() < prefix_size) return std::nullopt;
  const std::optional<std::int32_t> merged_id =
      vocabulary.find(std::string(left).append(right.substr(prefix_size)));
  if (!merged_id) return std::nullopt;
  return Merge{*left_id, *right_id, *merged_id};
}

// "a b" or ["a", "b"]; nothing when it is neither, or the vocabulary lacks a, b or ab.
std::optional<Merge> parse_merge(
    const nlohmann::json& merge, std::size_t prefix_size, const Vocabulary& vocabulary) {
  if (merge.is_string()) {
    // Tokens may have spaces themselves: the first one that stands between two tokens counts.
    const std::string_view text = merge.get_ref<const std::string&>();
    std::optional<Merge> result;
    for (std::size_t space = text.find(' '); space != std::string_view::npos && !result;
         space = text.find(' ', space + 1)) {
      result = find_merge(text.substr(0, space), text.substr(space + 1), prefix_size, vocabulary);
    }
    return result;
  }
  const bool is_pair =
      merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string();
  if (!is_pair) return std::nullopt;
  const auto token = [&](std::size_t i) -> const std::string& {
    return merge[i].get_ref<const std::string&>();
  };
  return find_merge(token(0), token(1), prefix_size, vocabulary);
}

bool is_version_line(const nlohmann::json& merge) {
  return merge.is_string() && merge.get_ref<const std::string&>().starts_with("#version");
}

// Refuses what changes the encoding and is not done here.
void check_options(const CheckedJson& model) {
  model.allow_keys(
      {"type",
       "dropout",
       "unk_token",
       "continuing_subword_prefix",
       "end_of_word_suffix",
       "fuse_unk",
       "byte_fallback",
       "ignore_merges",
       "vocab",
       "merges"});
  const std::optional<CheckedJson> dropout = model.find("dropout");
  if (dropout && dropout->value() != 0.0) dropout->refuse("is not supported");
}

std::string affix(const CheckedJson& model, const std::string& key) {
  const std::optional<CheckedJson> value = model.find(key);
  return value ? value->string() : std::string();
}

bool flag(const CheckedJson& model, const std::string& key) {
  const std::optional<CheckedJson> value = model.find(key);
  return value && value->boolean();
}

// The ids of all tokens of one character, by code point.
std::vector<std::int32_t> single_characters(const Vocabulary& vocabulary) {
  std::vector<std::int32_t> ids;
  for (std::int32_t id = 0; id < vocabulary.size(); ++id) {
    const std::string* const token = vocabulary.token(id);
    if (token == nullptr || token->empty()) continue;
    std::size_t end = 0;
    const char32_t character = next_code_point(*token, end);
    if (end != token->size()) continue;
    const auto place = static_cast<std::size_t>(character);
    if (place >= ids.size()) ids.resize(place + 1, kNoId);
    ids[place] = id;
  }
  return ids;
}

// The first word mark that stands behind something else, or the text's end.
std::size_t end_of_marked_word(std::string_view text) {
  std::size_t begin = 0;
  while (text.substr(begin).starts_with(kWordMark)) {
    begin += kWordMark.size();
  }
  return std::min(text.find(kWordMark, begin), text.size());
}

// Whether the word mark is a token and no token has it behind something else.
bool ends_before_word_marks(const Vocabulary& vocabulary) {
  if (!vocabulary.find(kWordMark)) return false;
  for (std::int32_t id = 0; id < vocabulary.size(); ++id) {
    const std::string* const token = vocabulary.token(id);
    if (token != nullptr && end_of_marked_word(*token) != token->size()) return false;
  }
  return true;
}

}  // namespace

MergeTable::MergeTable(
    const CheckedJson& merges, std::size_t prefix_size, const Vocabulary& vocabulary) {
  if (!merges.value().is_array()) merges.refuse("must be an array");
  const std::size_t num_slots = std::bit_ceil(2 * merges.value().size() + 2);
  slots_.resize(num_slots, {kEmptySlot, kNoRank});
  hash_shift_ = 64 - std::countr_zero(num_slots);

  std::size_t index = 0;
  for (const nlohmann::json& merge : merges.value()) {
    const std::size_t here = index++;
    if (is_version_line(merge)) continue;
    const std::optional<Merge> parsed = parse_merge(merge, prefix_size, vocabulary);
    if (!parsed) {
      merges.elements()[here].refuse(
          "must be two tokens of the vocabulary whose union is one, too");
    }
    // Of a pair that is listed twice the last place counts.
    const std::uint64_t pair = pair_of(parsed->left, parsed->right);
    slots_[slot_of(pair)] = {pair, static_cast<std::uint32_t>(merged_.size())};
    merged_.push_back(parsed->merged);
  }
}

std::size_t MergeTable::slot_of(std::uint64_t pair) const {
  // Fibonacci hashing: the golden ratio spreads neighbouring ids over the high bits.
  std::size_t slot = (pair * 0x9E3779B97F4A7C15U) >> hash_shift_;
  while (slots_[slot].pair != pair && slots_[slot].pair != kEmptySlot) {
    slot = (slot + 1) & (slots_.size() - 1);
  }
  return slot;
}

std::uint32_t MergeTable::rank(std::int32_t left, std::int32_t right) const {
  return slots_[slot_of(pair_of(left, right))].rank;
}

BytePairEncoding::BytePairEncoding(const CheckedJson& model)
    : vocabulary_(model.at("vocab")),
      prefix_(affix(model, "continuing_subword_prefix")),
      suffix_(affix(model, "end_of_word_suffix")),
      merges_(model.at("merges"), prefix_.size(), vocabulary_),
      character_ids_(single_characters(vocabulary_)),
      byte_ids_(byte_tokens(vocabulary_)),
      fuses_unknown_(flag(model, "fuse_unk")),
      falls_back_to_bytes_(flag(model, "byte_fallback")),
      ignores_merges_(flag(model, "ignore_merges")) {
  check_options(model);
  const bool has_affix = !prefix_.empty() || !suffix_.empty();
  if (has_affix && falls_back_to_bytes_) {
    model.at("byte_fallback").refuse("is not supported with a prefix or suffix");
  }
  merges_up_to_word_marks_ = !has_affix && ends_before_word_marks(vocabulary_);
  if (const std::optional<CheckedJson> unknown = model.find("unk_token")) {
    unknown_.emplace(unknown->string(), vocabulary_);
  }
}

void BytePairEncoding::encode(
    std::string_view word, Workspace& workspace, std::vector<WordToken>& tokens) const {
  if (ignores_merges_) {
    if (const std::optional<std::int32_t> id = vocabulary_.find(word)) {
      tokens.push_back({*id, {0, static_cast<std::int64_t>(word.size())}});
      return;
    }
  }

  std::int64_t begin = 0;
  const auto add_part = [&](std::string_view part) {
    merge_part(part, workspace);
    for (const Symbol& symbol : workspace.symbols) {
      tokens.push_back({symbol.id, {begin, begin + symbol.num_bytes}});
      begin += symbol.num_bytes;
    }
  };
  // SentencePiece-like tokenizers give a whole text as one word. Where no token reaches over a word
  // mark no merge does, either: what lies between two can be merged on its own, which is several
  // times faster (measured: 29 instead of 8 MB/s).
  while (merges_up_to_word_marks_ && !word.empty()) {
    const std::size_t end = end_of_marked_word(word);
    add_part(word.substr(0, end));
    word.remove_prefix(end);
  }
  if (!word.empty()) add_part(word);
}

void BytePairEncoding::merge_part(std::string_view part, Workspace& workspace) const {
  // So few symbols are merged fastest by looking at all of them each time.
  constexpr std::size_t kFew = 32;
  std::vector<Symbol>& symbols = workspace.symbols;
  split_into_symbols(part, symbols);
  for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
    symbols[i].rank = rank_of(symbols[i], symbols[i + 1]);
  }
  if (symbols.size() <= kFew) {
    merge_few(symbols);
  } else {
    merge_many(workspace);
  }
}

std::optional<std::int32_t> BytePairEncoding::character_id(
    std::string_view word, const ByteRange& range) const {
  auto begin = static_cast<std::size_t>(range.begin);
  const auto end = static_cast<std::size_t>(range.end);
  const bool has_prefix = begin > 0 && !prefix_.empty();
  const bool has_suffix = end == word.size() && !suffix_.empty();
  if (has_prefix || has_suffix) {
    std::string token = has_prefix ? prefix_ : std::string();
    token += word.substr(begin, end - begin);
    if (has_suffix) token += suffix_;
    return vocabulary_.find(token);
  }
  const auto place = static_cast<std::size_t>(next_code_point(word, begin));
  if (place >= character_ids_.size() || character_ids_[place] == kNoId) return std::nullopt;
  return character_ids_[place];
}

void BytePairEncoding::split_into_symbols(
    std::string_view word, std::vector<Symbol>& symbols) const {
  symbols.clear();
  // An unknown token waits here for more of its kind. Bytes overtake it, as in Python's
  // `tokenizers`.
  std::int32_t unknown_id = kNoId;
  std::int64_t num_unknown_bytes = 0;
  const auto add = [&](std::int32_t id, std::int64_t num_bytes) {
    symbols.push_back({id, MergeTable::kNoRank, num_bytes});
  };
  const auto add_unknown = [&] {
    if (num_unknown_bytes > 0) add(unknown_id, std::exchange(num_unknown_bytes, 0));
  };

  for (std::size_t begin = 0; begin < word.size();) {
    const std::size_t size = code_point_size(word[begin]);
    const auto num_bytes = static_cast<std::int64_t>(size);
    const std::string_view bytes = word.substr(begin, size);
    const auto first = static_cast<std::int64_t>(std::exchange(begin, begin + size));

    if (const auto id = character_id(word, {first, first + num_bytes})) {
      add_unknown();
      add(*id, num_bytes);
      continue;
    }
    if (falls_back_to_bytes_ && add_byte_symbols(bytes, symbols)) continue;
    if (!unknown_) continue;
    unknown_id = unknown_->id_for(bytes);
    if (!fuses_unknown_) add_unknown();
    num_unknown_bytes += num_bytes;
  }
  add_unknown();
}

bool BytePairEncoding::add_byte_symbols(
    std::string_view character, std::vector<Symbol>& symbols) const {
  const auto id_of = [&](char byte) { return byte_ids_[static_cast<unsigned char>(byte)]; };
  const auto is_known = [&](char byte) { return id_of(byte) != kNoId; };
  if (!std::all_of(character.begin(), character.end(), is_known)) return false;
  for (const char byte : character) {
    symbols.push_back({id_of(byte), MergeTable::kNoRank, 1});
  }
  return true;
}

std::uint32_t BytePairEncoding::rank_of(const Symbol& left, const Symbol& right) const {
  return merges_.rank(left.id, right.id);
}

void BytePairEncoding::merge_few(std::vector<Symbol>& symbols) const {
  const auto is_more_urgent = [](const Symbol& a, const Symbol& b) { return a.rank < b.rank; };
  while (!symbols.empty()) {
    // Of equal ranks the first one, as everywhere in byte-pair encoding.
    const auto left = std::min_element(symbols.begin(), symbols.end(), is_more_urgent);
    if (left->rank == MergeTable::kNoRank) return;
    left->id = merges_.merged(left->rank);
    left->num_bytes += std::next(left)->num_bytes;
    const auto right = symbols.erase(std::next(left));
    left->rank = right == symbols.end() ? MergeTable::kNoRank : rank_of(*left, *right);
    if (left != symbols.begin()) std::prev(left)->rank = rank_of(*std::prev(left), *left);
  }
}

void BytePairEncoding::merge_many(Workspace& workspace) const {
  std::vector<Symbol>& symbols = workspace.symbols;
  std::vector<Workspace::Neighbours>& neighbours = workspace.neighbours;
  std::vector<std::uint64_t>& queue = workspace.queue;
  const auto num_symbols = static_cast<std::int64_t>(symbols.size());
  const auto at = [](auto& list, std::int64_t i) -> auto& {
    return list[static_cast<std::size_t>(i)];
  };

  // The queue orders by rank, then by place. An entry is out of date when its symbol is gone or has
  // another rank by now; the symbol's own rank tells.
  const auto entry = [](std::uint32_t rank, std::int64_t place) {
    return (std::uint64_t{rank} << 32) | static_cast<std::uint64_t>(place);
  };
  queue.clear();
  neighbours.clear();
  for (std::int64_t i = 0; i < num_symbols; ++i) {
    neighbours.push_back({i - 1, i + 1});
    const std::uint32_t rank = at(symbols, i).rank;
    if (rank != MergeTable::kNoRank) queue.push_back(entry(rank, i));
  }
  std::make_heap(queue.begin(), queue.end(), std::greater<>());

  const auto update_rank = [&](std::int64_t left) {
    const std::int64_t right = at(neighbours, left).next;
    std::uint32_t& rank = at(symbols, left).rank;
    rank =
        right == num_symbols ? MergeTable::kNoRank : rank_of(at(symbols, left), at(symbols, right));
    if (rank == MergeTable::kNoRank) return;
    queue.push_back(entry(rank, left));
    std::push_heap(queue.begin(), queue.end(), std::greater<>());
  };

  while (!queue.empty()) {
    const auto rank = static_cast<std::uint32_t>(queue.front() >> 32);
    const auto left = static_cast<std::int64_t>(queue.front() & UINT32_MAX);
    std::pop_heap(queue.begin(), queue.end(), std::greater<>());
    queue.pop_back();
    if (at(symbols, left).rank != rank) continue;

    const std::int64_t right = at(neighbours, left).next;
    const std::int64_t after = at(neighbours, right).next;
    at(symbols, left).id = merges_.merged(rank);
    at(symbols, left).num_bytes += at(symbols, right).num_bytes;
    at(symbols, right) = {kNoId, MergeTable::kNoRank, 0};
    at(neighbours, left).next = after;
    if (after < num_symbols) at(neighbours, after).previous = left;

    const std::int64_t before = at(neighbours, left).previous;
    if (before >= 0) update_rank(before);
    update_rank(left);
  }
  std::erase_if(symbols, [](const Symbol& symbol) { return symbol.num_bytes == 0; });
}

}  // namespace limn
