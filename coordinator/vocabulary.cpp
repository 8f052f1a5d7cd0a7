#include "coordinator/vocabulary.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <xxhash.h>

#include "storage/error.h"

namespace limn {

Vocabulary::Vocabulary(const CheckedJson& tokens) {
  if (!tokens.value().is_object()) tokens.refuse("must be an object from token to id");
  ids_.reserve(tokens.value().size());
  std::int64_t size = 0;
  for (const auto& [token, id] : tokens.value().items()) {
    const bool is_id = id.is_number_unsigned() && id.get<std::uint64_t>() < kMaxSize;
    if (!is_id) tokens.at(token).refuse(fmt::format("must be an id from 0 to {}", kMaxSize - 1));
    const auto [added, is_new] = ids_.emplace(token, id.get<std::int32_t>());
    size = std::max<std::int64_t>(size, added->second + 1);
  }
  tokens_.resize(static_cast<std::size_t>(size));
  for (const auto& [token, id] : ids_) {
    const std::string*& place = tokens_[static_cast<std::size_t>(id)];
    if (place != nullptr) tokens.at(token).refuse("must not be the id of another token, too");
    place = &token;
  }
  num_tokens_ = static_cast<std::int64_t>(ids_.size());
}

Vocabulary::Vocabulary(std::vector<std::string> tokens)
    : num_tokens_(static_cast<std::int64_t>(tokens.size())) {
  ids_.reserve(tokens.size());
  tokens_.reserve(tokens.size());
  for (std::string& token : tokens) {
    const auto id = static_cast<std::int32_t>(tokens_.size());
    const auto place = ids_.insert_or_assign(std::move(token), id).first;
    tokens_.push_back(&place->first);
  }
}

std::optional<std::int32_t> Vocabulary::find(std::string_view token) const {
  const auto found = ids_.find(token);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

const std::string* Vocabulary::token(std::int32_t id) const {
  check(0 <= id && id < size(), "the vocabulary has no token of this id: {}", id);
  return tokens_[static_cast<std::size_t>(id)];
}

std::size_t Vocabulary::Hash::operator()(std::string_view token) const {
  return XXH3_64bits(token.data(), token.size());
}

std::array<std::int32_t, 256> byte_tokens(const Vocabulary& vocabulary) {
  std::array<std::int32_t, 256> ids = {};
  for (std::size_t byte = 0; byte < ids.size(); ++byte) {
    ids[byte] = vocabulary.find(fmt::format("<0x{:02X}>", byte)).value_or(Vocabulary::kNoId);
  }
  return ids;
}

UnknownToken::UnknownToken(std::string token, const Vocabulary& vocabulary)
    : token_(std::move(token)),
      id_(vocabulary.find(token_)) {}

std::int32_t UnknownToken::id_for(std::string_view text) const {
  if (id_) return *id_;
  throw DataError(fmt::format(
      "model.unk_token is needed for \"{}\" and is not in the vocabulary: {}", text, token_));
}

}  // namespace limn
