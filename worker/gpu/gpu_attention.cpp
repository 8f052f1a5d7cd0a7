#include "worker/gpu/gpu_attention.h"

#include <algorithm>
#include <array>
#include <cstring>

#include <ATen/ATen.h>

#include "storage/error.h"
#include "worker/gpu/kernel_tasks.h"

namespace limn {

namespace {

constexpr int kPackThreads = 256;

// The fastest that the device has the shared memory for.
GpuAttentionVariant variant_for(std::int64_t head_dim, int pieces, int shared_bytes_limit) {
  const auto variant_of = [&](int warps, int tiles, int keys) {
    return GpuAttentionVariant{
        .head_dim = head_dim, .pieces = pieces, .warps = warps, .tiles = tiles, .keys = keys};
  };
  std::vector<GpuAttentionVariant> variants;  // the fastest first
  // Wider heads, more pieces or more keys do not fit into the registers.
  if (head_dim <= 128 && pieces <= 2)
    variants.push_back(variant_of(4, 2, head_dim <= 64 ? 64 : 32));
  if (head_dim <= 128) variants.push_back(variant_of(8, 1, 64));
  for (const int keys : {64, 32, 16})
    variants.push_back(variant_of(4, 1, keys));
  for (const GpuAttentionVariant& variant : variants) {
    if (variant.shared_bytes() <= shared_bytes_limit) return variant;
  }
  throw JobError(fmt::format(
      "parallel.device: attention heads of {} dimensions do not fit this GPU; use \"cpu\"",
      head_dim));
}

at::Tensor dense_factors(const SweepLayout& layout) {
  at::Tensor factors = at::ones({layout.key_row.size(0)}, at::kFloat);
  auto* const of_key = factors.mutable_data_ptr<float>();
  for (const Segment& segment : layout.segments) {
    for (std::size_t i = 0; i < segment.factors.positions.size(); ++i) {
      const std::int64_t key = segment.factors.positions[i] - segment.key_begin;
      of_key[segment.key_packed_begin + key] = segment.factors.factors[i];
    }
  }
  return factors;
}

int narrow(std::int64_t value) {
  return static_cast<int>(value);
}

const unsigned short* pieces_data(const at::Tensor& pieces) {
  return static_cast<const unsigned short*>(pieces.const_data_ptr());
}

}  // namespace

GpuAttentionPlan::GpuAttentionPlan(
    const SweepLayout& layout,
    std::vector<HeadRun> heads,
    std::int64_t head_dim,
    int pieces,
    at::Device device,
    GpuPrograms& programs)
    : layout_(layout),
      heads_(std::move(heads)),
      device_(device),
      programs_(programs),
      variant_(variant_for(head_dim, pieces, programs.shared_bytes_limit())),
      factors_(moved_to(device, dense_factors(layout))) {}

const at::Tensor& GpuAttentionPlan::tiles(const RowBlock& block, RowSet rows) {
  at::Tensor& tiles = tiles_[{block.segment_begin, rows}];
  if (!tiles.defined()) tiles = make_tiles(block, rows);
  return tiles;
}

at::Tensor GpuAttentionPlan::make_tiles(const RowBlock& block, RowSet rows) const {
  std::vector<GpuAttentionTile> tiles;
  const std::int64_t step = variant_.queries_of_block();
  std::int64_t query_row = 0;
  for (std::size_t i = block.segment_begin; i < block.segment_end; ++i) {
    const Segment& segment = layout_.segments[i];
    const Segment& base = layout_.segments[segment.sample];
    const std::int64_t begin = rows == RowSet::All ? segment.row_begin : segment.target_row_begin;
    for (const HeadRun& run : heads_) {
      const std::int64_t num_queries = (segment.row_end - begin) * run.queries_per_kv;
      for (std::int64_t kv_head = 0; kv_head < run.num_kv_heads; ++kv_head) {
        for (std::int64_t query = 0; query < num_queries; query += step) {
          tiles.push_back(
              {.first_query = narrow(query),
               .num_queries = narrow(std::min(step, num_queries - query)),
               .query_row = narrow(query_row),
               .first_position = narrow(begin),
               .row_begin = narrow(segment.key_begin),
               .row_end = narrow(segment.row_end),
               .base_row = narrow(base.key_packed_begin),
               .own_row = narrow(segment.key_packed_begin - block.keys.begin),
               .kv_head = narrow(run.kv_begin + kv_head),
               .first_query_head = narrow(run.query_begin + kv_head * run.queries_per_kv),
               .num_query_heads = narrow(run.queries_per_kv),
               .suppressed_end =
                   segment.factors.empty() ? 0 : narrow(segment.factors.positions.back() + 1),
               .first_factor = narrow(segment.key_packed_begin)});
        }
      }
    }
    query_row += segment.row_end - begin;
  }
  // Those that see the most keys first, so that the last ones to end are short.
  const auto last_position = [](const GpuAttentionTile& tile) {
    return tile.first_position + (tile.first_query + tile.num_queries - 1) / tile.num_query_heads;
  };
  std::ranges::stable_sort(tiles, std::greater(), last_position);

  const auto bytes = static_cast<std::int64_t>(sizeof(GpuAttentionTile));
  at::Tensor host = at::empty({std::ssize(tiles), bytes}, at::kByte);
  if (!tiles.empty()) {
    std::memcpy(host.mutable_data_ptr(), tiles.data(), tiles.size() * sizeof(GpuAttentionTile));
  }
  return moved_to(device_, host);
}

GpuAttention::GpuAttention(GpuAttentionPlan& plan, AttentionOptions options)
    : plan_(plan),
      options_(std::move(options)) {}

at::Tensor GpuAttention::in_pieces(const at::Tensor& heads) {
  const GpuAttentionVariant& variant = plan_.variant();
  const std::int64_t width = variant.pieces * variant.padded_head_dim();
  at::Tensor pieces =
      at::empty({heads.size(0), heads.size(1), width}, heads.options().dtype(at::kBFloat16));
  GpuPackTask task{
      .from = heads.const_data_ptr<float>(),
      .to = static_cast<unsigned short*>(pieces.mutable_data_ptr()),
      .row_stride = heads.stride(0),
      .num_heads = heads.size(0) * heads.size(1),
      .heads = narrow(heads.size(1))};
  std::array<void*, 1> arguments{&task};
  const std::int64_t threads = task.num_heads * variant.padded_head_dim();
  plan_.program().launch(
      {.kernel = "limn_pack",
       .blocks = (threads + kPackThreads - 1) / kPackThreads,
       .threads = kPackThreads,
       .arguments = arguments.data()});
  return pieces;
}

at::Tensor GpuAttention::attend(
    const RowBlock& block,
    RowSet rows,
    const at::Tensor& queries,
    const at::Tensor& keys,
    const at::Tensor& values) {
  const at::Tensor own_keys = in_pieces(keys);
  const at::Tensor own_values = in_pieces(values);
  if (block.is_base) {
    base_keys_ = own_keys;
    base_values_ = own_values;
  }
  const GpuAttentionVariant& variant = plan_.variant();
  const at::Tensor& tiles = plan_.tiles(block, rows);
  at::Tensor output =
      at::empty({queries.size(0), queries.size(1) * variant.head_dim}, queries.options());
  GpuAttentionTask task{
      .tiles = static_cast<const GpuAttentionTile*>(tiles.const_data_ptr()),
      .queries = queries.const_data_ptr<float>(),
      .output = output.mutable_data_ptr<float>(),
      .query_stride = queries.stride(0),
      .output_stride = output.stride(0),
      .base_keys = pieces_data(base_keys_),
      .base_values = pieces_data(base_values_),
      .own_keys = pieces_data(own_keys),
      .own_values = pieces_data(own_values),
      .factors = plan_.factors().const_data_ptr<float>(),
      .kv_heads = narrow(keys.size(1)),
      .window = narrow(options_.window),
      .rule = static_cast<int>(options_.suppression),
      .scale = static_cast<float>(options_.scale),
      .softcap = static_cast<float>(options_.softcap)};
  if (options_.key_bias.defined()) {
    task.key_bias = options_.key_bias.const_data_ptr<float>();
    task.key_bias_stride = narrow(options_.key_bias.stride(0));
  }
  if (options_.sinks.defined()) task.sinks = options_.sinks.const_data_ptr<float>();
  std::array<void*, 1> arguments{&task};
  plan_.program().launch(
      {.kernel = "limn_attend",
       .blocks = tiles.size(0),
       .threads = variant.threads(),
       .shared_bytes = variant.shared_bytes(),
       .arguments = arguments.data()});
  return output;
}

}  // namespace limn
