// SentencePiece's own normal forms, which come with a model.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/checked_json.h"
#include "coordinator/pieced_text.h"

namespace limn {

// A model's map from characters to what replaces them ("precompiled_charsmap"). Threads: immutable.
class CharacterMap {
 public:
  // `base64` spells a double-array trie and the texts that it leads to. Throws DataError when it is
  // damaged.
  explicit CharacterMap(const CheckedJson& base64);

  // Appends `text` with what the map has for its characters, as Python's `tokenizers` does it: a
  // whole grapheme of at most 5 bytes is replaced if any beginning of it is in the map, in others
  // every character is on its own. Requires: valid UTF-8, not empty.
  void append_mapped(const AlignedView& text, AlignedText& result) const;

 private:
  // What replaces the shortest beginning of `text` that is in the map; nothing if none is.
  std::optional<std::string_view> find(std::string_view text) const;

  std::vector<std::uint32_t> units_;  // of the double array
  std::string texts_;                 // each ends with a zero byte
};

}  // namespace limn
