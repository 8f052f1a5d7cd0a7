#include "worker/sweep_memory.h"

#include <algorithm>
#include <initializer_list>

#include "sharding/parallel_vocabulary.h"
#include "sharding/shard_layout.h"
#include "worker/kernels/cpu_kernels.h"
#include "worker/suppressed_attention.h"

namespace limn {

namespace {

constexpr std::int64_t kFloat = 4;  // bytes of an element
constexpr std::int64_t kDouble = 8;
constexpr std::int64_t kIndex = 8;

std::int64_t bytes_of(at::ScalarType dtype) {
  return static_cast<std::int64_t>(c10::elementSize(dtype));
}

// A sweep on tensor rank 0. Widths are elements of a row, products' dtypes bytes of an element.
struct Sweep {
  const DecoderConfig& config;
  const SweepShape& shape;
  const SweepMemoryOptions& options;

  HeadShard heads = shard_heads(config.num_heads, config.num_kv_heads, options.tensor_parallel, 0);
  std::int64_t hidden = config.hidden;
  std::int64_t query = heads.query_heads.size() * config.head_dim;
  std::int64_t kv = heads.kv_heads.size() * config.head_dim;
  std::int64_t qkv = query + 2 * kv;
  std::int64_t table = config.embedding_width > 0 ? config.embedding_width : config.hidden;
  std::int64_t vocabulary = share(config.vocab_size);

  bool is_difference = is_delta(options.compute);
  std::int64_t kept = bytes_of(options.kept);
  std::int64_t base_product = options.compute == SweepCompute::Bfloat16 ? 2 : kFloat;
  std::int64_t block_product = options.compute == SweepCompute::Float32 ? kFloat : 2;

  std::int64_t share(std::int64_t total) const {
    return even_slice(total, options.tensor_parallel, 0).size();
  }
};

// The MLP of a layer. `up` elements come out of the first product, `inner` go into the second.
struct MlpWidths {
  std::int64_t up = 0;
  std::int64_t inner = 0;
  std::int64_t experts = 0;  // 0: dense
  std::int64_t chosen = 1;

  std::int64_t matrices(std::int64_t hidden) const {
    return std::max<std::int64_t>(experts, 1) * hidden * (up + inner);
  }
};

MlpWidths dense_mlp(const Sweep& s) {
  const std::int64_t inner = s.share(s.config.inner);
  return {.up = s.config.mlp == MlpKind::Gated ? 2 * inner : inner, .inner = inner};
}

MlpWidths expert_mlp(const Sweep& s, const ExpertsConfig& experts) {
  const std::int64_t inner = s.share(experts.inner);
  return {
      .up = 2 * inner,
      .inner = inner,
      .experts = experts.num_experts,
      .chosen = experts.num_chosen};
}

// positions, fed_lengths, base_row and key_row of every row, fed_token of the bases'; target_row,
// target_ids and base_target_row of every target row.
std::int64_t index_tensors(const Sweep& s) {
  return kIndex * (4 * s.shape.rows + s.shape.base_rows + 3 * s.shape.target_rows);
}

// x of all rows: [rows, hidden].
std::int64_t residual_stream(const Sweep& s) {
  return kFloat * s.hidden * s.shape.rows;
}

// AttentionBuffers: panels of each key/value head, and each thread's scratch of a task.
std::int64_t attention_buffers(const Sweep& s) {
  const AttentionKernels& kernels = attention_kernels();
  const std::int64_t d = s.config.head_dim;
  const PanelSize of_head = panel_size(kernels, d);
  const std::int64_t panel = s.heads.kv_heads.size() * (of_head.keys + of_head.values);
  const std::int64_t scratch = kernels.scratch(kAttentionTileQueries, d, s.shape.longest);
  return kFloat *
         ((s.shape.base_panels + s.shape.block_panels) * panel + s.options.threads * scratch);
}

// What there is from the first layer to the last.
std::int64_t lasting(const Sweep& s) {
  return index_tensors(s) + residual_stream(s) + attention_buffers(s);
}

// Layer 0 keeps the queries, keys and values of the bases for all rows: [base rows, qkv].
std::int64_t shared_projections(const Sweep& s) {
  return kFloat * s.qkv * s.shape.base_rows;
}

// A copy of the layer's matrices where they are not kept as `product`.
std::int64_t converted(std::int64_t matrices, std::int64_t kept, std::int64_t product) {
  return kept == product ? 0 : product * matrices;
}

std::int64_t attention_matrices(const Sweep& s) {
  return s.hidden * (s.qkv + s.query);
}

std::int64_t layer_for_bases(const Sweep& s, const MlpWidths& mlp) {
  return converted(attention_matrices(s) + mlp.matrices(s.hidden), s.kept, s.base_product);
}

// Rows that are differences have the bases' experts.
std::int64_t layer_for_blocks(const Sweep& s, const MlpWidths& mlp) {
  const bool shares_experts = s.is_difference && mlp.experts > 0;
  return converted(attention_matrices(s), s.kept, s.block_product) +
         converted(
             mlp.matrices(s.hidden), s.kept, shares_experts ? s.base_product : s.block_product);
}

// What rows that are differences will need of the bases' attention: into the norm and out of it,
// the projections, what goes into attention_out and this rank's addend of what comes out, and both
// sides of the norm behind it.
std::int64_t trace_of_attention(const Sweep& s) {
  if (!s.is_difference) return 0;
  const std::int64_t branch = s.options.norms_branches ? 2 * s.hidden : 0;
  return kFloat * s.shape.base_rows * (3 * s.hidden + s.qkv + s.query + branch);
}

// And of the MLP: both sides of the norm, behind the first product and behind the activation, or
// the experts' output; both sides of the norm behind it.
std::int64_t trace_of_mlp(const Sweep& s, const MlpWidths& mlp) {
  if (!s.is_difference) return 0;
  const std::int64_t branch = s.options.norms_branches ? 2 * s.hidden : 0;
  const std::int64_t products = mlp.experts > 0 ? s.hidden : mlp.up + mlp.inner;
  return kFloat * s.shape.base_rows * (2 * s.hidden + products + branch);
}

// The largest of the moments of `rows` rows in an MLP: what enters and leaves the first product,
// the activation, the second product (whose output is float32 in the end).
std::int64_t rows_in_dense_mlp(
    const Sweep& s, const MlpWidths& mlp, std::int64_t rows, std::int64_t product) {
  const std::int64_t out = product == kFloat ? kFloat : product + kFloat;
  return rows * std::max(
                    {product * (s.hidden + mlp.up),
                     product * (mlp.up + mlp.inner),
                     product * mlp.inner + out * s.hidden});
}

// x, the sum of the experts' outputs, and the fullest expert with the rows that chose it: taken to
// be half as many again as the mean.
std::int64_t rows_in_expert_mlp(
    const Sweep& s, const MlpWidths& mlp, std::int64_t rows, std::int64_t product) {
  const std::int64_t of_expert = std::min(3 * rows * mlp.chosen / (2 * mlp.experts), rows);
  const std::int64_t copies = product == kFloat ? 0 : product * (s.hidden + mlp.up);
  return kFloat * rows * (2 * s.hidden + mlp.experts) +
         of_expert * (kFloat * (2 * s.hidden + mlp.up + mlp.inner) + copies);
}

// A parallel block has the attention's output beside it.
std::int64_t rows_in_mlp(
    const Sweep& s, const MlpWidths& mlp, std::int64_t rows, std::int64_t product) {
  const std::int64_t beside =
      s.config.residual == ResidualKind::Parallel ? kFloat * rows * s.hidden : 0;
  return beside + (mlp.experts > 0 ? rows_in_expert_mlp(s, mlp, rows, product)
                                   : rows_in_dense_mlp(s, mlp, rows, product));
}

// Queries, keys and values, and the attention's output. Normed queries and keys are copies.
std::int64_t rows_in_attention(const Sweep& s, std::int64_t rows) {
  const std::int64_t normed = s.config.head_norm == HeadNormKind::None ? 0 : s.query + s.kv;
  return kFloat * rows * (s.qkv + normed + s.query);
}

std::int64_t in_attention_of_bases(const Sweep& s, const MlpWidths& mlp) {
  return lasting(s) + layer_for_bases(s, mlp) + trace_of_attention(s) +
         rows_in_attention(s, s.shape.base_rows);
}

// With a trace, what is live in the MLP stays; the MLP's output comes on top.
std::int64_t in_mlp_of_bases(const Sweep& s, const MlpWidths& mlp) {
  const std::int64_t rows = s.shape.base_rows;
  return lasting(s) + shared_projections(s) + layer_for_bases(s, mlp) + trace_of_attention(s) +
         (s.is_difference ? trace_of_mlp(s, mlp) + kFloat * s.hidden * rows
                          : rows_in_mlp(s, mlp, rows, s.base_product));
}

std::int64_t behind_bases(const Sweep& s, const MlpWidths& mlp) {
  return lasting(s) + shared_projections(s) + layer_for_blocks(s, mlp) + trace_of_attention(s) +
         trace_of_mlp(s, mlp);
}

std::int64_t in_attention_of_a_block(const Sweep& s, const MlpWidths& mlp) {
  return behind_bases(s, mlp) + rows_in_attention(s, s.shape.block_rows);
}

std::int64_t in_mlp_of_a_block(const Sweep& s, const MlpWidths& mlp) {
  return behind_bases(s, mlp) + rows_in_mlp(s, mlp, s.shape.block_rows, s.block_product);
}

// The rows of the table, x, and x with positions or normed.
std::int64_t in_embedding(const Sweep& s) {
  return index_tensors(s) + attention_buffers(s) +
         kFloat * s.shape.base_rows * (s.table + 2 * s.hidden);
}

// embedding_similarity of the longest sample: its embeddings twice in float64, and for every two
// of its tokens the cosine and whether it is large.
std::int64_t in_similarity(const Sweep& s) {
  if (!s.options.is_correlated) return 0;
  const std::int64_t n = s.shape.longest;
  return attention_buffers(s) + kFloat * s.shape.base_rows * s.table + 2 * kDouble * n * s.table +
         (kDouble + 1) * n * n;
}

// A block of ids of the head: of the rows that are multiplied at a time the logits, and either what
// is summed in float64 or the products that are added to the bases' logits.
std::int64_t in_head(const Sweep& s) {
  const std::int64_t ids = std::min(kLogitIds, s.vocabulary);
  const std::int64_t base_targets = s.shape.base_target_rows;
  const std::int64_t targets = s.shape.target_rows - base_targets;
  const std::int64_t rows = std::min(kLogitRows, std::max(targets, base_targets));
  const std::int64_t copied = std::min(kLogitCopyRows, rows);
  const std::int64_t summed = ids * (kFloat * rows + kDouble * copied);
  const std::int64_t added = ids * ((kFloat + 2) * rows + kFloat * copied);
  const std::int64_t all_rows = kFloat * s.table * (targets + (s.is_difference ? base_targets : 0));
  const std::int64_t base_logits = s.is_difference ? kFloat * ids * base_targets : 0;
  const std::int64_t product = s.is_difference ? 2 : kFloat;
  return index_tensors(s) + attention_buffers(s) + all_rows + base_logits +
         converted(ids * s.table, s.kept, product) +
         (s.is_difference ? std::max(summed, added) : summed);
}

// The largest over the layers' two kinds of MLP.
std::int64_t in_layers(const Sweep& s, const MlpWidths& mlp) {
  return std::max(
      {in_attention_of_bases(s, mlp),
       in_mlp_of_bases(s, mlp),
       in_attention_of_a_block(s, mlp),
       in_mlp_of_a_block(s, mlp)});
}

}  // namespace

SweepShape shape_of(const SweepLayout& layout) {
  SweepShape shape{
      .base_rows = layout.num_base_rows,
      .rows = layout.num_rows,
      .target_rows = layout.num_target_rows};
  for (const RowBlock& block : layout.blocks) {
    std::int64_t panels = 0;
    for (std::size_t i = block.segment_begin; i < block.segment_end; ++i) {
      const Segment& segment = layout.segments[i];
      panels += num_panels(attention_kernels(), segment);
      shape.longest = std::max(shape.longest, segment.row_end);
    }
    if (block.is_base) {
      shape.base_target_rows = block.target_rows.size();
      shape.base_panels = panels;
    } else {
      shape.block_rows = std::max(shape.block_rows, block.rows.size());
      shape.block_panels = std::max(shape.block_panels, panels);
    }
  }
  return shape;
}

std::int64_t sweep_memory(
    const DecoderConfig& config, const SweepShape& shape, const SweepMemoryOptions& options) {
  const Sweep s{config, shape, options};
  std::int64_t peak = std::max({in_similarity(s), in_embedding(s), in_head(s)});
  for (const LayerConfig& layer : config.layers) {
    const MlpWidths mlp = layer.has_experts ? expert_mlp(s, config.experts.value()) : dense_mlp(s);
    peak = std::max(peak, in_layers(s, mlp));
  }
  return peak;
}

}  // namespace limn
