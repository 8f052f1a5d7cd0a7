// Which slice of what a tensor rank holds.
#pragma once

#include <cstdint>
#include <vector>

namespace limn {

// Half-open range of indices along one dimension.
struct Slice {
  std::int64_t begin = 0;
  std::int64_t end = 0;

  std::int64_t size() const { return end - begin; }

  bool operator==(const Slice&) const = default;
};

// The `rank`-th of `ranks` slices of [0, total), in order; sizes differ by one at most, larger ones
// first. Requires: 0 <= rank < ranks.
Slice even_slice(std::int64_t total, int ranks, int rank);

// Consecutive key/value heads of a rank that each serve the same number of the rank's query heads.
// Indices count from the rank's own first head.
struct HeadRun {
  std::int64_t kv_begin = 0;
  std::int64_t num_kv_heads = 0;
  std::int64_t query_begin = 0;
  std::int64_t queries_per_kv = 0;

  std::int64_t num_query_heads() const { return num_kv_heads * queries_per_kv; }

  bool operator==(const HeadRun&) const = default;
};

// The attention heads of a rank. Query head h of the model uses key/value head h / (heads /
// kv_heads).
struct HeadShard {
  Slice query_heads;
  Slice kv_heads;
  std::vector<HeadRun> runs;  // all query heads of the rank, in order
  // Of kv_heads those that no lower rank holds, too: over all ranks each key/value head once.
  Slice first_held_kv_heads;
};

// Spreads whole key/value groups as evenly as possible; where there are more ranks than key/value
// heads it spreads the query heads, and every rank also holds the key/value heads that its query
// heads use. Requires: kv_heads divides heads.
HeadShard shard_heads(std::int64_t heads, std::int64_t kv_heads, int ranks, int rank);

}  // namespace limn
