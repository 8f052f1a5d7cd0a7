#include "coordinator/vocabulary.h"

#include <algorithm>

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

}  // namespace limn
