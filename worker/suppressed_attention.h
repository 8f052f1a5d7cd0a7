// Causal attention of the segments of a sweep, each under its own suppression.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "coordinator/job.h"
#include "sharding/shard_layout.h"
#include "worker/kernels/cpu_kernels.h"
#include "worker/sweep_layout.h"

namespace limn {

// Queries that a thread takes at a time. More share a panel of keys while it is in the first cache,
// fewer waste less above the diagonal.
inline constexpr std::int64_t kAttentionTileQueries = 48;

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

// Floats of a panel of one key/value head.
struct PanelSize {
  std::int64_t keys = 0;
  std::int64_t values = 0;
};

PanelSize panel_size(const AttentionKernels& kernels, std::int64_t head_dim);

// Of the panels that hold the keys of a segment, its base's before them left out.
std::int64_t num_panels(const AttentionKernels& kernels, const Segment& segment);

// Memory of an attention, kept from layer to layer and from sweep to sweep. Grows to the largest
// need so far.
struct AttentionBuffers {
  at::Tensor base;     // panels of all bases
  at::Tensor own;      // panels of the segments of a block
  at::Tensor scratch;  // [threads, ...]
};

// One layer's attention, block by block: the base block first, whose keys and values all later
// segments see before their own first row. Every row's output depends on its segment alone, not on
// the others or on the block. Threads: one thread at a time.
class LayerAttention {
 public:
  virtual ~LayerAttention() = default;

  // The attention output of a block's rows that are in `rows`, [query rows, heads/t * head_dim]
  // float32. A row whose visible keys are all hidden has output 0. Requires: `queries` [query rows,
  // heads/t, head_dim], one for each row of `rows`; `keys` and `values` [the block's keys,
  // kv_heads/t, head_dim]. All float32, rows at any stride, all else contiguous.
  virtual at::Tensor attend(
      const RowBlock& block,
      RowSet rows,
      const at::Tensor& queries,
      const at::Tensor& keys,
      const at::Tensor& values) = 0;
};

// On a CPU. Keys and values are packed once for each segment; the base's are not copied. Outputs do
// not depend on the number of threads. Borrows: layout, buffers and kernels. Computes on ATen's
// threads.
class SuppressedAttention final : public LayerAttention {
 public:
  SuppressedAttention(
      const SweepLayout& layout,
      AttentionOptions options,
      AttentionBuffers& buffers,
      const AttentionKernels& kernels = attention_kernels());

  at::Tensor attend(
      const RowBlock& block,
      RowSet rows,
      const at::Tensor& queries,
      const at::Tensor& keys,
      const at::Tensor& values) override;

 private:
  // Successive rows of a segment, for the query heads of one key/value head: what one thread
  // computes at a time.
  struct QueryTile {
    std::size_t segment = 0;
    std::int64_t kv_head = 0;
    std::int64_t first_query_head = 0;
    std::int64_t num_query_heads = 0;
    std::int64_t first_position = 0;
    std::int64_t num_rows = 0;
    std::int64_t first_row = 0;  // of the block's query rows
  };

  void pack(const RowBlock& block, const at::Tensor& keys, const at::Tensor& values);

  // Room for the panels of a block's segments. What the block before had there is lost.
  void place_panels(const RowBlock& block, std::int64_t kv_heads, std::int64_t head_dim);

  KeyValuePanels panels_of(std::size_t segment, std::int64_t kv_head, std::int64_t head_dim) const;

  std::vector<QueryTile> query_tiles(const RowBlock& block, RowSet rows) const;

  // What the kernel must know of a tile, but for its queries and output.
  AttentionTask task_of(const QueryTile& tile, std::int64_t head_dim) const;

  const SweepLayout& layout_;
  AttentionOptions options_;
  AttentionBuffers& buffers_;
  const AttentionKernels& kernels_;
  std::vector<std::int64_t> panel_offset_;  // of each segment in its buffer
};

}  // namespace limn
