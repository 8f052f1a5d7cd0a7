#include "coordinator/byte_trie.h"

#include <bit>
#include <utility>

namespace limn {

namespace {

constexpr std::size_t kFirstSlots = 256;

int hash_shift(std::size_t num_slots) {
  return 64 - std::countr_zero(num_slots);
}

}  // namespace

ByteTrie::ByteTrie()
    : edges_(kFirstSlots, Edge{kEmptySlot}),
      hash_shift_(hash_shift(kFirstSlots)) {}

void ByteTrie::insert(std::string_view string, std::int32_t value) {
  Node node = kRoot;
  for (const char byte : string.substr(0, string.size() - 1)) {
    node = find_or_add(node, byte).target;
  }
  find_or_add(node, string.back()).value = value;
}

ByteTrie::Edge& ByteTrie::find_or_add(Node node, char byte) {
  const std::uint64_t source = source_of(node, byte);
  std::size_t slot = slot_of(source);
  if (edges_[slot].source == source) return edges_[slot];
  if (2 * static_cast<std::size_t>(num_nodes_) >= edges_.size()) {
    grow();
    slot = slot_of(source);
  }
  edges_[slot] = {.source = source, .target = num_nodes_++};
  return edges_[slot];
}

void ByteTrie::grow() {
  const std::vector<Edge> edges =
      std::exchange(edges_, std::vector<Edge>(2 * edges_.size(), Edge{kEmptySlot}));
  hash_shift_ = hash_shift(edges_.size());
  for (const Edge& edge : edges) {
    if (edge.source != kEmptySlot) edges_[slot_of(edge.source)] = edge;
  }
}

}  // namespace limn
