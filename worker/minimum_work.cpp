#include "worker/minimum_work.h"

#include <algorithm>

#include "coordinator/sweep_cost.h"
#include "sharding/parallel_vocabulary.h"
#include "sharding/shard_layout.h"

namespace limn {

namespace {

// Of the rows at positions [row_begin, row_end); window 0: none.
std::int64_t visible_keys(std::int64_t row_begin, std::int64_t row_end, std::int64_t window) {
  if (window == 0) return work_of_rows(row_begin, row_end).keys;
  const std::int64_t full = std::clamp(window, row_begin, row_end);
  return work_of_rows(row_begin, full).keys + window * (row_end - full);
}

class Counter {
 public:
  Counter(const DecoderConfig& config, const WorkOptions& options, MinimumWork& work)
      : config_(config),
        ranks_(options.tensor_parallel),
        compute_(options.compute),
        work_(work),
        base_dtype_(compute_ == SweepCompute::Bfloat16 ? at::kBFloat16 : at::kFloat),
        block_dtype_(compute_ == SweepCompute::Float32 ? at::kFloat : at::kBFloat16) {
    const HeadShard heads = shard_heads(config.num_heads, config.num_kv_heads, ranks_, 0);
    query_ = heads.query_heads.size() * config.head_dim;
    kv_ = heads.kv_heads.size() * config.head_dim;
    table_ = config.embedding_width > 0 ? config.embedding_width : config.hidden;
  }

  void add(const SweepLayout& layout) {
    if (table_ != config_.hidden) {
      add(at::kFloat, layout.num_base_rows, table_, config_.hidden);
      add(at::kFloat, layout.num_target_rows, config_.hidden, table_);
    }
    for (const RowBlock& block : layout.blocks) {
      for (std::size_t l = 0; l < config_.layers.size(); ++l)
        add_layer(layout, block, l);
    }
    const std::int64_t base_targets = layout.blocks.front().target_rows.size();
    add_head(at::kFloat, base_targets);
    // What is multiplied for values is float32 in any arithmetic.
    const bool is_difference = is_delta(compute_);
    add_head(is_difference ? at::kBFloat16 : at::kFloat, layout.num_target_rows - base_targets);
    work_.rows += layout.num_rows;
  }

 private:
  void add(
      at::ScalarType dtype,
      std::int64_t rows,
      std::int64_t inputs,
      std::int64_t outputs,
      std::int64_t count = 1) {
    if (rows > 0 && outputs > 0) work_.products[{dtype, inputs, outputs, rows}] += count;
  }

  void add_layer(const SweepLayout& layout, const RowBlock& block, std::size_t index) {
    const LayerConfig& layer = config_.layers[index];
    const at::ScalarType dtype = block.is_base ? base_dtype_ : block_dtype_;
    const bool is_last = index + 1 == config_.layers.size();
    const std::int64_t rows = is_last ? block.target_rows.size() : block.rows.size();
    if (index > 0 || block.is_base) {
      if (is_last) add(dtype, rows, config_.hidden, query_);
      add(dtype, block.rows.size(), config_.hidden, (is_last ? 0 : query_) + 2 * kv_);
    }
    add(dtype, rows, query_, config_.hidden);
    if (layer.has_experts) {
      add_experts(config_.experts.value(), rows);
    } else {
      const std::int64_t inner = share(config_.inner);
      add(dtype, rows, config_.hidden, config_.mlp == MlpKind::Gated ? 2 * inner : inner);
      add(dtype, rows, inner, config_.hidden);
    }

    std::int64_t keys = 0;
    for (std::size_t s = block.segment_begin; s < block.segment_end; ++s) {
      const Segment& segment = layout.segments[s];
      const std::int64_t first = is_last ? segment.target_row_begin : segment.row_begin;
      keys += visible_keys(first, segment.row_end, layer.window);
    }
    // A query times a key, and a probability times a value.
    work_.attention_flops += 4 * static_cast<double>(query_) * static_cast<double>(keys);
  }

  // In the bases' arithmetic, whatever the rows': which experts a row has is not linear.
  void add_experts(const ExpertsConfig& experts, std::int64_t rows) {
    add(at::kFloat, rows, config_.hidden, experts.num_experts);
    const std::int64_t chosen = rows * experts.num_chosen;
    const std::int64_t busy = std::min(experts.num_experts, chosen);
    if (busy == 0) return;
    const std::int64_t inner = share(experts.inner);
    add(base_dtype_, chosen / busy, config_.hidden, 2 * inner, busy);
    add(base_dtype_, chosen / busy, inner, config_.hidden, busy);
  }

  // In the blocks in which logits are made.
  void add_head(at::ScalarType dtype, std::int64_t rows) {
    const std::int64_t vocabulary = share(config_.vocab_size);
    for (std::int64_t id = 0; id < vocabulary; id += kLogitIds) {
      for (std::int64_t row = 0; row < rows; row += kLogitRows) {
        add(dtype, std::min(kLogitRows, rows - row), table_, std::min(kLogitIds, vocabulary - id));
      }
    }
  }

  std::int64_t share(std::int64_t total) const { return even_slice(total, ranks_, 0).size(); }

  const DecoderConfig& config_;
  int ranks_;
  SweepCompute compute_;
  MinimumWork& work_;
  at::ScalarType base_dtype_;
  at::ScalarType block_dtype_;
  std::int64_t query_ = 0;  // this rank's elements of a row
  std::int64_t kv_ = 0;
  std::int64_t table_ = 0;
};

}  // namespace

double SweepProduct::flops() const {
  return 2.0 * static_cast<double>(rows) * static_cast<double>(inputs) *
         static_cast<double>(outputs);
}

double MinimumWork::product_flops() const {
  double flops = 0;
  for (const auto& [product, count] : products)
    flops += product.flops() * static_cast<double>(count);
  return flops;
}

void add_minimum_work(
    const DecoderConfig& config,
    const WorkOptions& options,
    const SweepLayout& layout,
    MinimumWork& work) {
  Counter(config, options, work).add(layout);
}

}  // namespace limn
