// Tokens and their ids.
#pragma once

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

  // `tokens` is an object from token to id. Throws DataError when an id is no number, out of range
  // or given twice.
  explicit Vocabulary(const CheckedJson& tokens);
  Vocabulary(Vocabulary&&) = default;
  Vocabulary& operator=(Vocabulary&&) = default;

  // One more than the largest id.
  std::int64_t size() const { return static_cast<std::int64_t>(tokens_.size()); }

  // As many as there are tokens: size(), unless ids are left out.
  std::int64_t num_tokens() const { return static_cast<std::int64_t>(ids_.size()); }

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
};

}  // namespace limn
