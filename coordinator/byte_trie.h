// Strings as paths of bytes, for looking up all prefixes of a text at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace limn {

// Threads: immutable once filled.
class ByteTrie {
 public:
  using Node = std::int32_t;

  static constexpr Node kRoot = 0;
  static constexpr std::int32_t kNoValue = -1;

  struct Edge {
    std::uint64_t source;  // of the edge: its node and byte
    Node target = 0;
    std::int32_t value = kNoValue;  // of the string that ends at the target
  };

  ByteTrie();

  // A string that is there already gets the new value. Requires: `string` is not empty, `value` is
  // not negative.
  void insert(std::string_view string, std::int32_t value);

  // The edge from `node` along `byte`, null if there is none.
  const Edge* find(Node node, char byte) const {
    const Edge& edge = edges_[slot_of(source_of(node, byte))];
    return edge.source == kEmptySlot ? nullptr : &edge;
  }

 private:
  static constexpr std::uint64_t kEmptySlot = UINT64_MAX;

  static std::uint64_t source_of(Node node, char byte) {
    return (std::uint64_t{static_cast<std::uint32_t>(node)} << 8) |
           static_cast<unsigned char>(byte);
  }

  // Where the edge is, or the empty slot where it belongs.
  std::size_t slot_of(std::uint64_t source) const {
    // Fibonacci hashing, as in MergeTable.
    std::size_t slot = (source * 0x9E3779B97F4A7C15U) >> hash_shift_;
    while (edges_[slot].source != source && edges_[slot].source != kEmptySlot) {
      slot = (slot + 1) & (edges_.size() - 1);
    }
    return slot;
  }

  Edge& find_or_add(Node node, char byte);
  void grow();

  std::vector<Edge> edges_;  // open addressing, at most half full, a power of two
  int hash_shift_;
  Node num_nodes_ = 1;
};

}  // namespace limn
