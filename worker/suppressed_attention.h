// Causal attention of the segments of a sweep, each under its own suppression.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "coordinator/job.h"
#include "sharding/shard_layout.h"
#include "worker/sweep_layout.h"

namespace limn {

// What the attention of a layer needs besides queries, keys and values.
struct AttentionOptions {
  std::vector<HeadRun> heads;
  double scale = 1;         // of the products of queries and keys
  std::int64_t window = 0;  // a row sees so many keys, itself included; 0: all before it
  double softcap = 0;       // c: c tanh(s / c); 0: none
  at::Tensor key_bias;      // [heads/t, keys], added to the scaled logits; undefined: none
  at::Tensor sinks;         // [heads/t], a logit that joins every row's softmax; undefined: none
  // Of a logit s with the factor f, after scaling, position bias and soft-capping and before the
  // mask:
  //   log_additive    s + log f
  //   multiplicative  f s
  //   shifted         m + f (s - m), m the row's minimum over the keys that it may see
  //   shifted_full    the same with m over all keys of the sample
  SuppressionKind suppression = SuppressionKind::LogAdditive;
};

// Memory of an attention, kept from layer to layer and from sweep to sweep. Grows to the largest
// need so far.
struct AttentionBuffers {
  at::Tensor base;     // panels of all bases
  at::Tensor own;      // panels of the segments of a block
  at::Tensor scratch;  // [threads, ...]
};

// One layer's attention on a CPU, block by block: the base block first, whose keys and values all
// later segments see before their own first row. Keys and values are packed once for each segment;
// the base's are not copied. Every row's output depends on its segment alone, not on the others,
// on the block or on the number of threads. Borrows: layout and buffers. Threads: one thread at a
// time; computes on ATen's.
class SuppressedAttention {
 public:
  SuppressedAttention(
      const SweepLayout& layout, AttentionOptions options, AttentionBuffers& buffers);

  // The attention output of a block's rows that are in `rows`, [query rows, heads/t * head_dim]
  // float32. A row whose visible keys are all hidden has output 0. Requires: `queries` [query rows,
  // heads/t, head_dim], one for each row of `rows`; `keys` and `values` [the block's rows,
  // kv_heads/t, head_dim]. All float32, rows at any stride, all else contiguous.
  at::Tensor attend(
      const RowBlock& block,
      RowSet rows,
      const at::Tensor& queries,
      const at::Tensor& keys,
      const at::Tensor& values);

 private:
  const SweepLayout& layout_;
  AttentionOptions options_;
  AttentionBuffers& buffers_;
  std::vector<std::int64_t> base_offset_;  // of each sample's panels in buffers_.base
};

}  // namespace limn
