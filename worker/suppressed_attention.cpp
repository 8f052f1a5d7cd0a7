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

// [rows, keys - first_row]: true where a row, from first_row on, must not see a key, from first_row
// on.
at::Tensor future_keys(std::int64_t rows, std::int64_t keys, const at::Tensor& like) {
  return at::ones({rows, keys}, like.options().dtype(at::kBool)).triu_(1);
}

// The part of the logits in which a row may meet a key of its own future.
at::Tensor diagonal_part(const at::Tensor& logits, std::int64_t first_row) {
  return logits.narrow(-1, first_row, logits.size(-1) - first_row);
}

at::Tensor row_minimum(const at::Tensor& logits, SuppressionKind kind, std::int64_t first_row) {
  if (kind == SuppressionKind::ShiftedFull) return logits.amin(-1, /*keepdim=*/true);
  at::Tensor visible = logits.clone();
  at::Tensor diagonal = diagonal_part(visible, first_row);
  diagonal.masked_fill_(future_keys(logits.size(-2), diagonal.size(-1), logits), kInfinity);
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

// Whether some row of the segment may see hidden keys only: a row sees key 0, so only if that is
// hidden.
bool may_hide_all_keys(const KeyFactors& factors, SuppressionKind kind) {
  return kind == SuppressionKind::LogAdditive && !factors.empty() &&
         factors.positions.front() == 0 && factors.factors.front() == 0;
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
  const std::int64_t visible = first_row + rows;
  const bool wants_all_keys =
      options.suppression == SuppressionKind::ShiftedFull && !factors.empty();
  const std::int64_t num_keys = wants_all_keys ? buffer.keys.size(1) : visible;
  const at::Tensor keys = buffer.keys.narrow(0, run.kv_begin, run.num_kv_heads);
  const at::Tensor values = buffer.values.narrow(0, run.kv_begin, run.num_kv_heads);

  // The query heads that share a key/value head are rows of one product: [kv_heads, heads * rows,
  // ...].
  const at::Tensor folded = queries.view({rows, run.num_kv_heads, run.queries_per_kv, head_dim})
                                .permute({1, 2, 0, 3})
                                .reshape({run.num_kv_heads, run.queries_per_kv * rows, head_dim});
  at::Tensor logits = folded.bmm(keys.narrow(1, 0, num_keys).transpose(1, 2))
                          .view({run.num_kv_heads, run.queries_per_kv, rows, num_keys});
  suppress_logits(logits, factors, options.suppression, first_row);

  logits = logits.narrow(3, 0, visible);
  diagonal_part(logits, first_row).masked_fill_(future_keys(rows, rows, logits), -kInfinity);
  const at::Tensor weights = may_hide_all_keys(factors, options.suppression)
                                 ? at::_safe_softmax(logits, -1)  // 0 where all keys are hidden
                                 : at::softmax(logits, -1);
  return weights.reshape({run.num_kv_heads, run.queries_per_kv * rows, visible})
      .bmm(values.narrow(1, 0, visible))
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
    at::Tensor& logits, const KeyFactors& factors, SuppressionKind kind, std::int64_t first_row) {
  // Keys beyond the last row's position are seen by no row.
  const auto end = std::ranges::lower_bound(factors.positions, logits.size(-1));
  const auto count = std::distance(factors.positions.begin(), end);
  if (count == 0) return;
  const at::Tensor columns =
      at::tensor(at::ArrayRef<std::int64_t>(factors.positions.data(), count), at::kLong);
  const at::Tensor f = at::tensor(at::ArrayRef<float>(factors.factors.data(), count));

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
      const at::Tensor m = row_minimum(logits, kind, first_row);
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
