// Causal attention of all segments of a sweep, each under its own suppression.
#pragma once

#include <ATen/core/Tensor.h>

#include "coordinator/job.h"
#include "sharding/shard_layout.h"
#include "worker/sweep_layout.h"

namespace limn {

// Which rows and keys a block of logits [..., rows, keys] is about, and which of them see each
// other.
struct LogitBlock {
  std::int64_t first_row = 0;  // position; the rows stand at successive ones
  std::int64_t first_key = 0;
  std::int64_t window = 0;  // a row sees so many keys, itself included; 0: all before it
};

// Applies a perturbation to attention logits, in place, after scaling, position bias and
// soft-capping and before the mask:
//   log_additive    s + log f
//   multiplicative  f s
//   shifted         m + f (s - m), m the row's minimum over the keys that it may see
//   shifted_full    the same with m over all keys of the block, which are all keys of the sample
void suppress_logits(
    at::Tensor& logits, const KeyFactors& factors, SuppressionKind kind, const LogitBlock& block);

// What the attention of a layer needs besides queries, keys and values.
struct AttentionOptions {
  std::vector<HeadRun> heads;
  double scale = 1;         // of the products of queries and keys
  std::int64_t window = 0;  // as LogitBlock::window
  double softcap = 0;       // c: c tanh(s / c); 0: none
  at::Tensor key_bias;      // [heads/t, keys], added to the scaled logits; undefined: none
  at::Tensor sinks;         // [heads/t], a logit that joins every row's softmax; undefined: none
  SuppressionKind suppression = SuppressionKind::LogAdditive;
};

// The attention output of every row of `rows`, [query rows, heads/t, head_dim]; the rows of a
// perturbed segment see the base's keys and values before the segment's first row and their own
// from there on. A row whose visible keys are all hidden has output 0. Requires: `queries` [query
// rows, heads/t, head_dim], one for each row of `rows`, in packed order; `keys` and `values` [rows,
// kv_heads/t, head_dim] of all packed rows.
at::Tensor suppressed_attention(
    const at::Tensor& queries,
    const at::Tensor& keys,
    const at::Tensor& values,
    const SweepLayout& layout,
    RowSet rows,
    const AttentionOptions& options);

}  // namespace limn
