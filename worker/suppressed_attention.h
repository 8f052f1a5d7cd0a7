// Causal attention of all segments of a sweep, each under its own suppression.
#pragma once

#include <ATen/core/Tensor.h>

#include "coordinator/job.h"
#include "sharding/shard_layout.h"
#include "worker/sweep_layout.h"

namespace limn {

// Applies a perturbation to attention logits, in place, before the causal mask:
//   log_additive    s + log f
//   multiplicative  f s
//   shifted         m + f (s - m), m the row's minimum over the keys that it may see
//   shifted_full    the same with m over all keys, future ones too
// `logits` [..., rows, keys]: the rows stand at successive positions from first_row on, the keys
// from 0 on. Requires: keys reach at least the last row's position; for shifted_full they are all
// keys of the sample.
void suppress_logits(
    at::Tensor& logits, const KeyFactors& factors, SuppressionKind kind, std::int64_t first_row);

// What the attention of a layer needs besides queries, keys and values.
struct AttentionOptions {
  std::vector<HeadRun> heads;
  double scale = 1;  // of the products of queries and keys
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
