#include "coordinator/unigram.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "coordinator/code_points.h"
#include "storage/error.h"

namespace limn {

namespace {

// An unknown character scores so much less than the least likely token.
constexpr double kUnknownPenalty = 10;

double power_of_ten(int exponent) {
  const std::string text = fmt::format("1e{}", exponent);
  double power = 0;
  std::from_chars(text.data(), text.data() + text.size(), power);
  return power;
}

// The number that Python's `tokenizers` reads where `number` is written: not the nearest one to the
// digits, but the digits as an integer, times or over a power of ten, which is sometimes the
// neighbour. Sums of scores that are all but equal are told apart by it.
double as_package_reads(double number) {
  char text[32];  // "-d.dddddddddddddddde-ddd" is 24 long
  const std::to_chars_result written =
      std::to_chars(text, text + sizeof text, std::abs(number), std::chars_format::scientific);
  std::uint64_t digits = 0;
  int exponent = 0;
  bool is_fraction = false;
  const char* c = text;
  for (; c != written.ptr && *c != 'e'; ++c) {
    if (*c == '.') {
      is_fraction = true;
      continue;
    }
    digits = 10 * digits + static_cast<std::uint64_t>(*c - '0');
    exponent -= is_fraction ? 1 : 0;
  }
  int written_exponent = 0;
  const char* const sign = c + 1;  // from_chars knows no plus
  std::from_chars(*sign == '+' ? sign + 1 : sign, written.ptr, written_exponent);
  exponent += written_exponent;

  constexpr int kLargestPower = 308;
  auto result = static_cast<double>(digits);
  for (; exponent < -kLargestPower; exponent += kLargestPower)
    result /= power_of_ten(kLargestPower);
  result = exponent < 0 ? result / power_of_ten(-exponent) : result * power_of_ten(exponent);
  return std::copysign(result, number);
}

struct ScoredTokens {
  std::vector<std::string> tokens;
  std::vector<double> scores;
};

// [["token", score], ...]
ScoredTokens parse_scored_tokens(const CheckedJson& list) {
  if (!list.value().is_array()) list.refuse("must be an array of pairs of token and score");
  const auto& pairs = list.value();
  if (pairs.size() > static_cast<std::size_t>(Vocabulary::kMaxSize)) {
    list.refuse(fmt::format("must have at most {} tokens", Vocabulary::kMaxSize));
  }
  ScoredTokens result;
  for (const nlohmann::json& pair : pairs) {
    const bool is_scored_token =
        pair.is_array() && pair.size() == 2 && pair[0].is_string() && pair[1].is_number();
    if (!is_scored_token) {
      list.elements()[result.tokens.size()].refuse("must be a token and its score");
    }
    result.tokens.push_back(pair[0].get<std::string>());
    result.scores.push_back(as_package_reads(pair[1].get<double>()));
  }
  return result;
}

double least_of(const std::vector<double>& scores) {
  const auto least = std::min_element(scores.begin(), scores.end());
  return least == scores.end() ? std::numeric_limits<double>::infinity() : *least;
}

std::optional<std::int32_t> parse_unknown_id(const CheckedJson& model, std::int64_t size) {
  const std::optional<CheckedJson> id = model.find("unk_id");
  if (!id) return std::nullopt;
  const bool is_id = 0 <= id->integer() && id->integer() < size;
  if (!is_id) id->refuse("must be the id of a token");
  return static_cast<std::int32_t>(id->integer());
}

}  // namespace

Unigram::Unigram(const CheckedJson& model) {
  model.allow_keys({"type", "vocab", "unk_id", "byte_fallback"});
  ScoredTokens scored = parse_scored_tokens(model.at("vocab"));
  scores_ = std::move(scored.scores);
  vocabulary_ = Vocabulary(std::move(scored.tokens));
  unknown_id_ = parse_unknown_id(model, vocabulary_.size());
  unknown_score_ = least_of(scores_) - kUnknownPenalty;
  const std::optional<CheckedJson> falls_back = model.find("byte_fallback");
  if (falls_back && falls_back->boolean()) byte_ids_ = byte_tokens(vocabulary_);
  for (std::int32_t id = 0; id < vocabulary_.size(); ++id) {
    const std::string* const token = vocabulary_.token(id);
    if (!token->empty()) trie_.insert(*token, id);
  }
}

void Unigram::encode(
    std::string_view word, Workspace& workspace, std::vector<WordToken>& tokens) const {
  std::vector<Workspace::Path>& paths = workspace.paths_;
  find_paths(word, paths);

  std::vector<WordToken>& words = workspace.words_;
  words.clear();
  bool is_after_unknown = false;
  for (auto end = static_cast<std::int64_t>(word.size()); end > 0;) {
    const Workspace::Path& path = paths[static_cast<std::size_t>(end)];
    const bool is_unknown = unknown_id_ == path.token;
    if (is_unknown && is_after_unknown) {
      words.back().bytes.begin = path.token_begin;
    } else {
      words.push_back({path.token, {path.token_begin, end}});
    }
    is_after_unknown = is_unknown;
    end = path.token_begin;
  }

  for (auto token = words.rbegin(); token != words.rend(); ++token) {
    if (unknown_id_ == token->id) {
      add_unknown(word, token->bytes, tokens);
    } else {
      tokens.push_back(*token);
    }
  }
}

void Unigram::find_paths(std::string_view word, std::vector<Workspace::Path>& paths) const {
  const std::size_t size = word.size();
  paths.assign(size + 1, {});
  const auto offer = [&](std::size_t begin, std::size_t end, std::int32_t token, double score) {
    Workspace::Path& path = paths[end];
    if (path.token_begin >= 0 && score <= path.score) return;
    path = {score, static_cast<std::int64_t>(begin), token};
  };

  for (std::size_t begin = 0; begin < size;) {
    const double score = paths[begin].score;
    const std::size_t character_end = begin + code_point_size(word[begin]);
    bool is_character_known = false;
    ByteTrie::Node node = ByteTrie::kRoot;
    for (std::size_t i = begin; i < size; ++i) {
      const ByteTrie::Edge* const edge = trie_.find(node, word[i]);
      if (edge == nullptr) break;
      node = edge->target;
      if (edge->value == ByteTrie::kNoValue) continue;
      is_character_known = is_character_known || i + 1 == character_end;
      offer(begin, i + 1, edge->value, scores_[static_cast<std::size_t>(edge->value)] + score);
    }
    if (!is_character_known) {
      const std::int32_t id = unknown_id(word.substr(begin, character_end - begin));
      offer(begin, character_end, id, unknown_score_ + score);
    }
    begin = character_end;
  }
}

void Unigram::add_unknown(
    std::string_view word, const ByteRange& range, std::vector<WordToken>& tokens) const {
  const std::string_view part = word.substr(
      static_cast<std::size_t>(range.begin), static_cast<std::size_t>(range.end - range.begin));
  if (const std::optional<std::int32_t> id = vocabulary_.find(part)) {
    tokens.push_back({*id, range});
    return;
  }
  const auto byte_id = [&](char byte) { return (*byte_ids_)[static_cast<unsigned char>(byte)]; };
  const auto has_token = [&](char byte) { return byte_id(byte) != Vocabulary::kNoId; };
  if (byte_ids_ && std::all_of(part.begin(), part.end(), has_token)) {
    for (const char byte : part) {
      tokens.push_back({byte_id(byte), range});
    }
    return;
  }
  tokens.push_back({unknown_id(part), range});
}

std::int32_t Unigram::unknown_id(std::string_view part) const {
  if (unknown_id_) return *unknown_id_;
  throw DataError(fmt::format("model.unk_id is needed and is missing: {}", part));
}

}  // namespace limn
