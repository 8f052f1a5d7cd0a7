#include "worker/suppressed_attention.h"

#include <algorithm>
#include <limits>

#include <ATen/ATen.h>

namespace limn {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Rows of one matrix product. More rows waste work above the diagonal, fewer make the products
// thin.
constexpr std::int64_t kBlockRows = 64;

// [rows, keys] bool: the keys that a row must not see, of its future or before its window.
at::Tensor unseen_keys(std::int64_t rows, std::int64_t keys, const LogitBlock& block) {
  const at::Tensor row =
      at::arange(block.first_row, block.first_row + rows, at::kLong).unsqueeze(1);
  const at::Tensor key = at::arange(block.first_key, block.first_key + keys, at::kLong);
  at::Tensor unseen = key.gt(row);
  if (block.window > 0) unseen.logical_or_(key.le(row - block.window));
  return unseen;
}

// Gives the keys that a row must not see this value.
void fill_unseen(at::Tensor& logits, const LogitBlock& block, float value) {
  // Without a window every row sees all keys before the first row.
  const std::int64_t offset = block.window > 0 ? 0 : block.first_row - block.first_key;
  at::Tensor part = logits.narrow(-1, offset, logits.size(-1) - offset);
  const LogitBlock of_part{block.first_row, block.first_key + offset, block.window};
  part.masked_fill_(unseen_keys(part.size(-2), part.size(-1), of_part), value);
}

at::Tensor row_minimum(const at::Tensor& logits, SuppressionKind kind, const LogitBlock& block) {
  if (kind == SuppressionKind::ShiftedFull) return logits.amin(-1, /*keepdim=*/true);
  at::Tensor visible = logits.clone();
  fill_unseen(visible, block, kInfinity);
  return visible.amin(-1, /*keepdim=*/true);
}

// The work buffers of a sample: the base's keys and values, overwritten segment by segment.
struct KeyValueBuffer {
  at::Tensor keys;    // [kv_heads/t, fed_length, head_dim]
  at::Tensor values;  // [kv_heads/t, fed_length, head_dim]

  void overwrite(const at::Tensor& all_keys, const at::Tensor& all_values, const Segment& segment) {
    const auto copy = [&](const at::Tensor& from, at::Tensor& to) {
      to.narrow(1, segment.row_begin, segment.num_rows())
          .copy_(from.narrow(0, segment.packed_begin, segment.num_rows()).transpose(0, 1));
    };
    copy(all_keys, keys);
    copy(all_values, values);
  }
};

KeyValueBuffer base_buffer(const at::Tensor& keys, const at::Tensor& values, const Segment& base) {
  const std::vector<std::int64_t> shape{keys.size(1), base.num_rows(), keys.size(2)};
  KeyValueBuffer buffer{at::empty(shape, keys.options()), at::empty(shape, keys.options())};
  buffer.overwrite(keys, values, base);
  return buffer;
}

// Whether some row may see hidden keys only. Without a window every row sees key 0.
bool may_hide_all_keys(const KeyFactors& factors, const AttentionOptions& options) {
  if (options.suppression != SuppressionKind::LogAdditive || options.sinks.defined()) return false;
  if (options.window > 0) return std::ranges::find(factors.factors, 0.0F) != factors.factors.end();
  return !factors.empty() && factors.positions.front() == 0 && factors.factors.front() == 0;
}

// One value for each query head of a run, as [kv_heads, heads per kv head, 1, ...].
at::Tensor of_run(const at::Tensor& of_heads, const HeadRun& run) {
  return of_heads.narrow(0, run.query_begin, run.num_query_heads())
      .unflatten(0, {run.num_kv_heads, run.queries_per_kv})
      .unsqueeze(2);
}

// Softmax over the keys of [kv_heads, heads per kv head, rows, keys]; a sink takes its share and is
// dropped.
at::Tensor attention_weights(
    const at::Tensor& logits,
    const HeadRun& run,
    const KeyFactors& factors,
    const AttentionOptions& options) {
  if (options.sinks.defined()) {
    const at::Tensor sink = of_run(options.sinks, run).unsqueeze(3);
    const at::Tensor column = sink.expand({-1, -1, logits.size(2), 1});
    return at::softmax(at::cat({logits, column}, -1), -1).narrow(-1, 0, logits.size(-1));
  }
  // Where all keys are hidden: 0.
  if (may_hide_all_keys(factors, options)) return at::_safe_softmax(logits, -1);
  return at::softmax(logits, -1);
}

// The keys that some row of a block sees or that its suppression asks for.
Slice keys_of_block(
    std::int64_t first_row,
    std::int64_t rows,
    std::int64_t fed_length,
    bool wants_all,
    std::int64_t window) {
  if (wants_all) return {0, fed_length};
  const std::int64_t begin = window > 0 ? std::max<std::int64_t>(first_row - window + 1, 0) : 0;
  return {begin, first_row + rows};
}

// Attention of consecutive rows, from position first_row on, for one run of heads.
// queries [rows, query heads of the run, head_dim] -> the same shape.
at::Tensor attend_block(
    const at::Tensor& queries,
    const KeyValueBuffer& buffer,
    const HeadRun& run,
    std::int64_t first_row,
    const KeyFactors& factors,
    const AttentionOptions& options) {
  const std::int64_t rows = queries.size(0);
  const std::int64_t head_dim = queries.size(2);
  const bool wants_all = options.suppression == SuppressionKind::ShiftedFull && !factors.empty();
  const Slice seen = keys_of_block(first_row, rows, buffer.keys.size(1), wants_all, options.window);
  const auto of_keys = [&](const at::Tensor& all) {
    return all.narrow(0, run.kv_begin, run.num_kv_heads).narrow(1, seen.begin, seen.size());
  };

  // The query heads that share a key/value head are rows of one product: [kv_heads, heads * rows,
  // ...].
  const at::Tensor folded = queries.view({rows, run.num_kv_heads, run.queries_per_kv, head_dim})
                                .permute({1, 2, 0, 3})
                                .reshape({run.num_kv_heads, run.queries_per_kv * rows, head_dim});
  at::Tensor logits = folded.bmm(of_keys(buffer.keys).transpose(1, 2))
                          .view({run.num_kv_heads, run.queries_per_kv, rows, seen.size()});
  if (options.key_bias.defined()) {
    logits.add_(of_run(options.key_bias, run).narrow(3, seen.begin, seen.size()));
  }
  if (options.softcap > 0) logits.div_(options.softcap).tanh_().mul_(options.softcap);
  const LogitBlock block{first_row, seen.begin, options.window};
  suppress_logits(logits, factors, options.suppression, block);

  fill_unseen(logits, block, -kInfinity);
  return attention_weights(logits, run, factors, options)
      .reshape({run.num_kv_heads, run.queries_per_kv * rows, seen.size()})
      .bmm(of_keys(buffer.values))
      .view({run.num_kv_heads, run.queries_per_kv, rows, head_dim})
      .permute({2, 0, 1, 3})
      .reshape({rows, run.num_query_heads(), head_dim});
}

// Attention of the rows of a segment that are in `rows`, into their places in `output`.
void attend_segment(
    const at::Tensor& queries,
    const KeyValueBuffer& buffer,
    const Segment& segment,
    RowSet rows,
    const AttentionOptions& options,
    at::Tensor& output) {
  const bool all = rows == RowSet::All;
  const std::int64_t row_begin = all ? segment.row_begin : segment.target_row_begin;
  const std::int64_t packed_begin = all ? segment.packed_begin : segment.target_packed_begin;
  for (std::int64_t row = row_begin; row < segment.row_end; row += kBlockRows) {
    const std::int64_t count = std::min(kBlockRows, segment.row_end - row);
    const std::int64_t packed = packed_begin + row - row_begin;
    for (const HeadRun& run : options.heads) {
      const at::Tensor block =
          queries.narrow(0, packed, count).narrow(1, run.query_begin, run.num_query_heads());
      output.narrow(0, packed, count)
          .narrow(1, run.query_begin, run.num_query_heads())
          .copy_(attend_block(block, buffer, run, row, segment.factors, options));
    }
  }
}

}  // namespace

void suppress_logits(
    at::Tensor& logits, const KeyFactors& factors, SuppressionKind kind, const LogitBlock& block) {
  const std::int64_t end_key = block.first_key + logits.size(-1);
  const auto begin = std::ranges::lower_bound(factors.positions, block.first_key);
  const auto end = std::ranges::lower_bound(factors.positions, end_key);
  if (begin >= end) return;
  const auto offset = std::distance(factors.positions.begin(), begin);
  const auto count = static_cast<std::size_t>(std::distance(begin, end));
  const at::Tensor columns =
      at::tensor(at::ArrayRef<std::int64_t>(factors.positions.data() + offset, count), at::kLong)
          .sub_(block.first_key);
  const at::Tensor f = at::tensor(at::ArrayRef<float>(factors.factors.data() + offset, count));

  at::Tensor s = logits.index_select(-1, columns);  // [..., rows, suppressed keys]
  switch (kind) {
    case SuppressionKind::LogAdditive:
      s.add_(f.log());
      break;
    case SuppressionKind::Multiplicative:
      s.mul_(f);
      break;
    case SuppressionKind::Shifted:
    case SuppressionKind::ShiftedFull: {
      const at::Tensor m = row_minimum(logits, kind, block);
      s.sub_(m).mul_(f).add_(m);
      break;
    }
  }
  logits.index_copy_(-1, columns, s);
}

at::Tensor suppressed_attention(
    const at::Tensor& queries,
    const at::Tensor& keys,
    const at::Tensor& values,
    const SweepLayout& layout,
    RowSet rows,
    const AttentionOptions& options) {
  const at::Tensor scaled = queries * options.scale;
  at::Tensor output = at::empty_like(scaled);  // [query rows, heads/t, head_dim]
  for (const SampleSegments& sample : layout.samples) {
    KeyValueBuffer buffer = base_buffer(keys, values, sample.base);
    attend_segment(scaled, buffer, sample.base, rows, options, output);
    for (const Segment& segment : sample.perturbed) {
      buffer.overwrite(keys, values, segment);
      attend_segment(scaled, buffer, segment, rows, options, output);
    }
  }
  return output;
}

}  // namespace limn
