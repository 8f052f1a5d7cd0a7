#include "sharding/shard_layout.h"

#include <algorithm>

#include "storage/error.h"

namespace limn {

Slice even_slice(std::int64_t total, int ranks, int rank) {
  const std::int64_t least = total / ranks;
  const std::int64_t larger = total % ranks;  // this many slices have one more
  const std::int64_t begin = rank * least + std::min<std::int64_t>(rank, larger);
  return {begin, begin + least + (rank < larger ? 1 : 0)};
}

namespace {

// Runs of key/value heads with equally many of the query heads in `queries`.
std::vector<HeadRun> head_runs(const Slice& queries, std::int64_t queries_per_kv) {
  std::vector<HeadRun> runs;
  const std::int64_t kv_offset = queries.begin / queries_per_kv;
  for (std::int64_t head = queries.begin; head < queries.end;) {
    const std::int64_t kv_head = head / queries_per_kv;
    const std::int64_t head_end = std::min((kv_head + 1) * queries_per_kv, queries.end);
    if (!runs.empty() && runs.back().queries_per_kv == head_end - head) {
      ++runs.back().num_kv_heads;
    } else {
      runs.push_back({kv_head - kv_offset, 1, head - queries.begin, head_end - head});
    }
    head = head_end;
  }
  return runs;
}

}  // namespace

HeadShard shard_heads(std::int64_t heads, std::int64_t kv_heads, int ranks, int rank) {
  check(kv_heads > 0 && heads % kv_heads == 0, "{} heads share {} kv heads", heads, kv_heads);
  const std::int64_t queries_per_kv = heads / kv_heads;
  HeadShard shard;
  if (ranks <= kv_heads) {
    shard.kv_heads = even_slice(kv_heads, ranks, rank);
    shard.query_heads = {
        shard.kv_heads.begin * queries_per_kv, shard.kv_heads.end * queries_per_kv};
  } else {
    shard.query_heads = even_slice(heads, ranks, rank);
    const bool none = shard.query_heads.size() == 0;
    const std::int64_t first = shard.query_heads.begin / queries_per_kv;
    shard.kv_heads = {first, none ? first : (shard.query_heads.end - 1) / queries_per_kv + 1};
  }
  // A head whose first query head is held by a lower rank is held there, too.
  const std::int64_t first_whole = (shard.query_heads.begin + queries_per_kv - 1) / queries_per_kv;
  shard.first_held_kv_heads = {std::min(first_whole, shard.kv_heads.end), shard.kv_heads.end};
  shard.runs = head_runs(shard.query_heads, queries_per_kv);
  return shard;
}

}  // namespace limn
