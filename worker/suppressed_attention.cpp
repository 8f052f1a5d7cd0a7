#include "worker/suppressed_attention.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "storage/error.h"
#include "worker/kernels/cpu_kernels.h"

namespace limn {

namespace {

// Queries of one task. More share a panel of keys while it is in the first cache, fewer waste less
// above the diagonal.
constexpr std::int64_t kTaskQueries = 48;

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
  std::int64_t head_dim = 0;
  std::int64_t first_panel = 0;
  std::int64_t num_panels = 0;

  PanelShape(const Segment& segment, std::int64_t dim)
      : head_dim(dim),
        first_panel(segment.row_begin / attention_kernels().panel),
        num_panels(divide_up(segment.row_end, attention_kernels().panel) - first_panel) {}

  std::int64_t key_floats() const { return num_panels * head_dim * attention_kernels().panel; }

  std::int64_t value_floats() const {
    const std::int64_t width = attention_kernels().width;
    return num_panels * attention_kernels().panel * divide_up(head_dim, width) * width;
  }

  std::int64_t head_floats() const { return key_floats() + value_floats(); }

  KeyValuePanels of_head(float* segment, std::int64_t kv_head) const {
    float* const keys = segment + kv_head * head_floats();
    return {keys, keys + key_floats(), first_panel};
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

const float* data_or_null(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr<float>() : nullptr;
}

}  // namespace

SuppressedAttention::SuppressedAttention(
    const SweepLayout& layout, AttentionOptions options, AttentionBuffers& buffers)
    : layout_(layout),
      options_(std::move(options)),
      buffers_(buffers) {}

at::Tensor SuppressedAttention::attend(
    const RowBlock& block,
    RowSet rows,
    const at::Tensor& queries,
    const at::Tensor& keys,
    const at::Tensor& values) {
  const AttentionKernels& kernels = attention_kernels();
  const std::int64_t kv_heads = keys.size(1);
  const std::int64_t head_dim = keys.size(2);
  const std::size_t num_segments = block.segment_end - block.segment_begin;
  const auto segment_at = [&](std::size_t i) -> const Segment& {
    return layout_.segments[block.segment_begin + i];
  };

  std::vector<std::int64_t> offsets;
  std::int64_t floats = 0;
  for (std::size_t i = 0; i < num_segments; ++i) {
    offsets.push_back(floats);
    floats += kv_heads * PanelShape(segment_at(i), head_dim).head_floats();
  }
  float* const own = grown(block.is_base ? buffers_.base : buffers_.own, floats);
  if (block.is_base) base_offset_ = offsets;
  float* const base = buffers_.base.mutable_data_ptr<float>();
  const auto base_panels = [&](const Segment& segment, std::int64_t kv_head) {
    const Segment& of_sample = layout_.segments[segment.sample];
    return PanelShape(of_sample, head_dim).of_head(base + base_offset_[segment.sample], kv_head);
  };
  const auto own_panels = [&](std::size_t i, std::int64_t kv_head) {
    return PanelShape(segment_at(i), head_dim).of_head(own + offsets[i], kv_head);
  };

  // A segment's first panel holds base keys before its first row.
  run_tasks(static_cast<std::int64_t>(num_segments) * kv_heads, [&](std::int64_t task, auto) {
    const auto i = static_cast<std::size_t>(task / kv_heads);
    const std::int64_t kv_head = task % kv_heads;
    const Segment& segment = segment_at(i);
    const std::int64_t row = segment.packed_begin - block.rows.begin;
    const KeyValuePanels panels = own_panels(i, kv_head);
    if (!block.is_base) {
      kernels.share_first_panel(base_panels(segment, kv_head), panels, head_dim);
    }
    kernels.pack(
        {.keys = keys.const_data_ptr<float>() + row * keys.stride(0) + kv_head * head_dim,
         .values = values.const_data_ptr<float>() + row * values.stride(0) + kv_head * head_dim,
         .key_stride = keys.stride(0),
         .value_stride = values.stride(0),
         .first_position = segment.row_begin,
         .num_positions = segment.num_rows(),
         .head_dim = head_dim,
         .panels = panels});
  });

  struct Place {
    std::size_t segment;
    const HeadRun* run;
    std::int64_t kv_head;  // of the run
    std::int64_t first_row;
    std::int64_t num_rows;
  };

  std::vector<Place> places;
  std::int64_t scratch_floats = 0;
  for (std::size_t i = 0; i < num_segments; ++i) {
    const Segment& segment = segment_at(i);
    const std::int64_t begin = rows == RowSet::All ? segment.row_begin : segment.target_row_begin;
    for (const HeadRun& run : options_.heads) {
      const std::int64_t step = std::max<std::int64_t>(kTaskQueries / run.queries_per_kv, 1);
      scratch_floats = std::max(
          scratch_floats, kernels.scratch(step * run.queries_per_kv, head_dim, segment.row_end));
      for (std::int64_t kv_head = 0; kv_head < run.num_kv_heads; ++kv_head) {
        for (std::int64_t row = begin; row < segment.row_end; row += step)
          places.push_back({i, &run, kv_head, row, std::min(step, segment.row_end - row)});
      }
    }
  }
  float* const scratch = grown(buffers_.scratch, at::get_num_threads() * scratch_floats);

  at::Tensor output = at::empty({queries.size(0), queries.size(1) * head_dim}, at::kFloat);
  float* const to = output.mutable_data_ptr<float>();
  run_tasks(static_cast<std::int64_t>(places.size()), [&](std::int64_t task, std::int64_t thread) {
    const Place& place = places[static_cast<std::size_t>(task)];
    const Segment& segment = segment_at(place.segment);
    const HeadRun& run = *place.run;
    const std::int64_t kv_head = run.kv_begin + place.kv_head;
    const std::int64_t query_head = run.query_begin + place.kv_head * run.queries_per_kv;
    const std::int64_t row =
        rows == RowSet::All
            ? segment.packed_begin + place.first_row - segment.row_begin - block.rows.begin
            : segment.target_packed_begin + place.first_row - segment.target_row_begin -
                  block.target_rows.begin;
    AttentionTask attention{
        .queries =
            queries.const_data_ptr<float>() + row * queries.stride(0) + query_head * head_dim,
        .query_stride = queries.stride(0),
        .output = to + row * output.stride(0) + query_head * head_dim,
        .output_stride = output.stride(0),
        .first_position = place.first_row,
        .num_rows = place.num_rows,
        .num_heads = run.queries_per_kv,
        .head_dim = head_dim,
        .num_keys = segment.row_end,
        .base = base_panels(segment, kv_head),
        .own = own_panels(place.segment, kv_head),
        .scale = static_cast<float>(options_.scale),
        .softcap = static_cast<float>(options_.softcap),
        .window = options_.window,
        .rule = rule_of(options_.suppression),
        .factors = {
            segment.factors.positions.data(),
            segment.factors.factors.data(),
            static_cast<std::int64_t>(segment.factors.positions.size())}};
    if (options_.key_bias.defined()) {
      attention.key_bias_stride = options_.key_bias.stride(0);
      attention.key_bias = data_or_null(options_.key_bias) + query_head * attention.key_bias_stride;
    }
    if (options_.sinks.defined()) attention.sinks = data_or_null(options_.sinks) + query_head;
    kernels.attend(attention, scratch + thread * scratch_floats);
  });
  return output;
}

}  // namespace limn
