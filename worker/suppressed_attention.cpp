#include "worker/suppressed_attention.h"

#include <algorithm>
#include <atomic>
#include <iterator>
#include <utility>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "storage/error.h"

namespace limn {

namespace {

SuppressionRule rule_of(SuppressionKind kind) {
  switch (kind) {
    case SuppressionKind::LogAdditive:
      return SuppressionRule::LogAdditive;
    case SuppressionKind::Multiplicative:
      return SuppressionRule::Multiplicative;
    case SuppressionKind::Shifted:
      return SuppressionRule::Shifted;
    case SuppressionKind::ShiftedFull:
      return SuppressionRule::ShiftedFull;
  }
  throw InternalError("a suppression without a rule");
}

std::int64_t divide_up(std::int64_t n, std::int64_t by) {
  return (n + by - 1) / by;
}

// The panels of one segment: those of all key/value heads, one after the other.
struct PanelShape {
  std::int64_t first_panel = 0;
  std::int64_t key_floats = 0;    // of one head
  std::int64_t value_floats = 0;  // of one head

  PanelShape(const AttentionKernels& kernels, const Segment& segment, std::int64_t head_dim)
      : first_panel(segment.key_begin / kernels.panel) {
    const PanelSize panel = panel_size(kernels, head_dim);
    const std::int64_t count = num_panels(kernels, segment);
    key_floats = count * panel.keys;
    value_floats = count * panel.values;
  }

  std::int64_t head_floats() const { return key_floats + value_floats; }

  KeyValuePanels of_head(float* segment, std::int64_t kv_head) const {
    float* const keys = segment + kv_head * head_floats();
    return {keys, keys + key_floats, first_panel};
  }
};

float* grown(at::Tensor& buffer, std::int64_t floats) {
  if (!buffer.defined() || buffer.numel() < floats) {
    buffer.reset();  // before the larger one is there
    buffer = at::zeros({floats}, at::kFloat);
  }
  return buffer.mutable_data_ptr<float>();
}

// Runs tasks [0, count) on ATen's threads, each as soon as a thread is free: they differ in size.
template <typename Run>
void run_tasks(std::int64_t count, const Run& run) {
  std::atomic<std::int64_t> next = 0;
  at::parallel_for(0, at::get_num_threads(), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t thread = begin; thread < end; ++thread) {
      for (std::int64_t task = next++; task < count; task = next++)
        run(task, thread);
    }
  });
}

}  // namespace

PanelSize panel_size(const AttentionKernels& kernels, std::int64_t head_dim) {
  const std::int64_t value_width = divide_up(head_dim, kernels.width) * kernels.width;
  return {.keys = kernels.panel * head_dim, .values = kernels.panel * value_width};
}

std::int64_t num_panels(const AttentionKernels& kernels, const Segment& segment) {
  return divide_up(segment.row_end, kernels.panel) - segment.key_begin / kernels.panel;
}

SuppressedAttention::SuppressedAttention(
    const SweepLayout& layout,
    AttentionOptions options,
    AttentionBuffers& buffers,
    const AttentionKernels& kernels)
    : layout_(layout),
      options_(std::move(options)),
      buffers_(buffers),
      kernels_(kernels),
      panel_offset_(layout.segments.size()) {}

at::Tensor SuppressedAttention::attend(
    const RowBlock& block,
    RowSet rows,
    const at::Tensor& queries,
    const at::Tensor& keys,
    const at::Tensor& values) {
  const std::int64_t head_dim = keys.size(2);
  pack(block, keys, values);

  const std::vector<QueryTile> tiles = query_tiles(block, rows);
  std::int64_t scratch_floats = 0;
  for (const QueryTile& tile : tiles) {
    const std::int64_t num_queries = tile.num_rows * tile.num_query_heads;
    const std::int64_t num_keys = layout_.segments[tile.segment].row_end;
    scratch_floats = std::max(scratch_floats, kernels_.scratch(num_queries, head_dim, num_keys));
  }
  float* const scratch = grown(buffers_.scratch, at::get_num_threads() * scratch_floats);

  at::Tensor output = at::empty({queries.size(0), queries.size(1) * head_dim}, at::kFloat);
  const float* const from = queries.const_data_ptr<float>();
  float* const to = output.mutable_data_ptr<float>();
  run_tasks(std::ssize(tiles), [&](std::int64_t i, std::int64_t thread) {
    const QueryTile& tile = tiles[static_cast<std::size_t>(i)];
    const std::int64_t first_column = tile.first_query_head * head_dim;
    AttentionTask task = task_of(tile, head_dim);
    task.queries = from + tile.first_row * queries.stride(0) + first_column;
    task.query_stride = queries.stride(0);
    task.output = to + tile.first_row * output.stride(0) + first_column;
    task.output_stride = output.stride(0);
    kernels_.attend(task, scratch + thread * scratch_floats);
  });
  return output;
}

void SuppressedAttention::pack(
    const RowBlock& block, const at::Tensor& keys, const at::Tensor& values) {
  const std::int64_t kv_heads = keys.size(1);
  const std::int64_t head_dim = keys.size(2);
  place_panels(block, kv_heads, head_dim);
  const float* const from_keys = keys.const_data_ptr<float>();
  const float* const from_values = values.const_data_ptr<float>();
  const auto num_segments = static_cast<std::int64_t>(block.segment_end - block.segment_begin);
  run_tasks(num_segments * kv_heads, [&](std::int64_t task, std::int64_t) {
    const std::size_t i = block.segment_begin + static_cast<std::size_t>(task / kv_heads);
    const std::int64_t kv_head = task % kv_heads;
    const Segment& segment = layout_.segments[i];
    const KeyValuePanels panels = panels_of(i, kv_head, head_dim);
    if (!block.is_base) {
      // The segment's first panel holds base keys before its own first one.
      const KeyValuePanels base = panels_of(segment.sample, kv_head, head_dim);
      kernels_.share_first_panel(base, panels, head_dim);
    }
    const std::int64_t row = segment.key_packed_begin - block.keys.begin;
    kernels_.pack(
        {.keys = from_keys + row * keys.stride(0) + kv_head * head_dim,
         .values = from_values + row * values.stride(0) + kv_head * head_dim,
         .key_stride = keys.stride(0),
         .value_stride = values.stride(0),
         .first_position = segment.key_begin,
         .num_positions = segment.num_keys(),
         .head_dim = head_dim,
         .panels = panels});
  });
}

void SuppressedAttention::place_panels(
    const RowBlock& block, std::int64_t kv_heads, std::int64_t head_dim) {
  std::int64_t floats = 0;
  for (std::size_t i = block.segment_begin; i < block.segment_end; ++i) {
    panel_offset_[i] = floats;
    floats += kv_heads * PanelShape(kernels_, layout_.segments[i], head_dim).head_floats();
  }
  grown(block.is_base ? buffers_.base : buffers_.own, floats);
}

KeyValuePanels SuppressedAttention::panels_of(
    std::size_t segment, std::int64_t kv_head, std::int64_t head_dim) const {
  at::Tensor& buffer = segment < layout_.num_samples ? buffers_.base : buffers_.own;
  float* const panels = buffer.mutable_data_ptr<float>() + panel_offset_[segment];
  return PanelShape(kernels_, layout_.segments[segment], head_dim).of_head(panels, kv_head);
}

std::vector<SuppressedAttention::QueryTile> SuppressedAttention::query_tiles(
    const RowBlock& block, RowSet rows) const {
  std::vector<QueryTile> tiles;
  std::int64_t first_row = 0;
  for (std::size_t i = block.segment_begin; i < block.segment_end; ++i) {
    const Segment& segment = layout_.segments[i];
    const std::int64_t begin = rows == RowSet::All ? segment.row_begin : segment.target_row_begin;
    for (const HeadRun& run : options_.heads) {
      const std::int64_t step =
          std::max<std::int64_t>(kAttentionTileQueries / run.queries_per_kv, 1);
      for (std::int64_t kv_head = 0; kv_head < run.num_kv_heads; ++kv_head) {
        for (std::int64_t position = begin; position < segment.row_end; position += step) {
          tiles.push_back(
              {.segment = i,
               .kv_head = run.kv_begin + kv_head,
               .first_query_head = run.query_begin + kv_head * run.queries_per_kv,
               .num_query_heads = run.queries_per_kv,
               .first_position = position,
               .num_rows = std::min(step, segment.row_end - position),
               .first_row = first_row + position - begin});
        }
      }
    }
    first_row += segment.row_end - begin;
  }
  return tiles;
}

AttentionTask SuppressedAttention::task_of(const QueryTile& tile, std::int64_t head_dim) const {
  const Segment& segment = layout_.segments[tile.segment];
  AttentionTask task{
      .first_position = tile.first_position,
      .num_rows = tile.num_rows,
      .num_heads = tile.num_query_heads,
      .head_dim = head_dim,
      .num_keys = segment.row_end,
      .base = panels_of(segment.sample, tile.kv_head, head_dim),
      .own = panels_of(tile.segment, tile.kv_head, head_dim),
      .scale = static_cast<float>(options_.scale),
      .softcap = static_cast<float>(options_.softcap),
      .window = options_.window,
      .rule = rule_of(options_.suppression),
      .factors = {
          segment.factors.positions.data(),
          segment.factors.factors.data(),
          std::ssize(segment.factors.positions)}};
  if (options_.key_bias.defined()) {
    task.key_bias_stride = options_.key_bias.stride(0);
    task.key_bias =
        options_.key_bias.const_data_ptr<float>() + tile.first_query_head * task.key_bias_stride;
  }
  if (options_.sinks.defined()) {
    task.sinks = options_.sinks.const_data_ptr<float>() + tile.first_query_head;
  }
  return task;
}

}  // namespace limn
