// Byte-pair encoding: a word's characters, merged two by two into tokens.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/checked_json.h"
#include "coordinator/vocabulary.h"
#include "coordinator/word_token.h"

namespace limn {

// The rank and the result of each merge of two tokens. Threads: immutable.
class MergeTable {
 public:
  static constexpr std::uint32_t kNoRank = UINT32_MAX;

  // `merges` lists pairs of tokens, "a b" or ["a", "b"], the most urgent first. The result of a
  // pair lacks the first `prefix_size` bytes of the second token. Throws DataError when a pair or
  // its result is not in the vocabulary.
  MergeTable(const CheckedJson& merges, std::size_t prefix_size, const Vocabulary& vocabulary);

  // The place of the pair in the list, kNoRank when it is not merged.
  std::uint32_t rank(std::int32_t left, std::int32_t right) const;

  std::int32_t merged(std::uint32_t rank) const { return merged_[rank]; }

 private:
  struct Slot {
    std::uint64_t pair;
    std::uint32_t rank;
  };

  // Where the pair is, or the empty slot where it belongs.
  std::size_t slot_of(std::uint64_t pair) const;

  std::vector<std::int32_t> merged_;  // by rank
  std::vector<Slot> slots_;           // open addressing, at most half full, a power of two
  int hash_shift_ = 0;
};

// The model kind "BPE". Threads: immutable.
class BytePairEncoding {
 public:
  // Throws DataError naming the first key of `model` that is wrong or not supported.
  explicit BytePairEncoding(const CheckedJson& model);

  const Vocabulary& vocabulary() const { return vocabulary_; }

  // What encoding writes on: one for each thread, used for many words.
  class Workspace {
    friend class BytePairEncoding;

    struct Symbol {
      std::int32_t id;
      std::uint32_t rank;  // of the merge with the next symbol
      std::int64_t num_bytes;
    };

    struct Neighbours {
      std::int64_t previous;
      std::int64_t next;
    };

    std::vector<Symbol> symbols;
    std::vector<Neighbours> neighbours;
    std::vector<std::uint64_t> queue;
  };

  // Appends the tokens of `word`. Characters that the vocabulary does not have become their bytes'
  // tokens, the unknown token, or nothing, as the file asks for. Takes n log n steps for n
  // characters. Requires: `word` is valid UTF-8. Throws DataError when the unknown token is needed
  // and is not in the vocabulary.
  void encode(std::string_view word, Workspace& workspace, std::vector<WordToken>& tokens) const;

 private:
  using Symbol = Workspace::Symbol;

  void merge_part(std::string_view part, Workspace& workspace) const;
  void split_into_symbols(std::string_view word, std::vector<Symbol>& symbols) const;
  std::optional<std::int32_t> character_id(std::string_view word, const ByteRange& range) const;
  bool add_byte_symbols(std::string_view character, std::vector<Symbol>& symbols) const;
  std::uint32_t rank_of(const Symbol& left, const Symbol& right) const;
  void merge_few(std::vector<Symbol>& symbols) const;
  void merge_many(Workspace& workspace) const;

  Vocabulary vocabulary_;
  std::string prefix_;  // of characters that do not begin a word
  std::string suffix_;  // of the character that ends a word
  MergeTable merges_;
  std::vector<std::int32_t> character_ids_;   // by code point, kNoId for none
  std::array<std::int32_t, 256> byte_ids_{};  // of <0x00> to <0xFF>, kNoId for none
  std::optional<UnknownToken> unknown_;
  bool fuses_unknown_ = false;
  bool falls_back_to_bytes_ = false;
  bool ignores_merges_ = false;           // for words that are tokens
  bool merges_up_to_word_marks_ = false;  // never over them: see encode()
};

}  // namespace limn
