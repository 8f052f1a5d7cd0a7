// Tokens and their ids.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "coordinator/checked_json.h"

namespace limn {

// Threads: immutable.
class Vocabulary {
 public:
  // The largest number of ids that a file may ask for.
  static constexpr std::int64_t kMaxSize = std::int64_t{1} << 22;

  static constexpr std::int32_t kNoId = -1;

  // Has no token.
  Vocabulary() = default;

  // `tokens` is an object from token to id. Throws DataError when an id is no number, out of range
  // or given twice.
  explicit Vocabulary(const CheckedJson& tokens);

  // A token's id is its place. Of a token that comes twice find() gives the last place.
  explicit Vocabulary(std::vector<std::string> tokens);

  Vocabulary(Vocabulary&&) = default;
  Vocabulary& operator=(Vocabulary&&) = default;

  // One more than the largest id.
  std::int64_t size() const { return static_cast<std::int64_t>(tokens_.size()); }

  // The ids that have a token: size(), unless some are left out.
  std::int64_t num_tokens() const { return num_tokens_; }

  std::optional<std::int32_t> find(std::string_view token) const;

  // Null for an id that is left out. Requires: 0 <= id < size().
  const std::string* token(std::int32_t id) const;

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view token) const;
  };

  // Its keys stay where they are, also when it moves (and it cannot be copied).
  std::unordered_map<std::string, std::int32_t, Hash, std::equal_to<>> ids_;
  std::vector<const std::string*> tokens_;  // by id: keys of ids_
  std::int64_t num_tokens_ = 0;
};

// The ids of the tokens of the 256 bytes, <0x00> to <0xFF>; kNoId where there is none.
std::array<std::int32_t, 256> byte_tokens(const Vocabulary& vocabulary);

// A model's token for what it does not know. Only a text that needs it asks whether it exists.
class UnknownToken {
 public:
  UnknownToken(std::string token, const Vocabulary& vocabulary);

  // Its id. Throws DataError when the vocabulary lacks it, naming it and `text`, which needs it.
  std::int32_t id_for(std::string_view text) const;

 private:
  std::string token_;
  std::optional<std::int32_t> id_;
};

}  // namespace limn
