#include "worker/sweep_layout.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include <ATen/ATen.h>

namespace limn {

namespace {

// Index tensors under construction, one entry for each packed row or target row.
struct RowIndices {
  std::vector<std::int64_t> positions;
  std::vector<std::int64_t> fed_lengths;
  std::vector<std::int64_t> base_row;
  std::vector<std::int64_t> target_row;
  std::vector<std::int64_t> target_ids;
  std::vector<std::int64_t> base_target_row;
};

at::Tensor index_tensor(const std::vector<std::int64_t>& values) {
  return at::tensor(values, at::kLong);
}

// The distinct perturbations of a piece that touch a key, and for each perturbation which of them.
struct DistinctFactors {
  std::vector<const KeyFactors*> factors;
  std::vector<std::optional<std::size_t>> index_of;
};

DistinctFactors distinct_factors(const std::vector<KeyFactors>& factors) {
  DistinctFactors distinct;
  using Key = std::pair<std::vector<std::int64_t>, std::vector<float>>;
  std::map<Key, std::size_t> known;
  for (const KeyFactors& one : factors) {
    if (one.empty()) {
      distinct.index_of.push_back(std::nullopt);
      continue;
    }
    const auto [entry, is_new] =
        known.try_emplace({one.positions, one.factors}, distinct.factors.size());
    distinct.index_of.push_back(entry->second);
    if (is_new) distinct.factors.push_back(&one);
  }
  return distinct;
}

// Lays a batch out segment by segment.
class Layouter {
 public:
  Layouter(const Batch& batch, std::int64_t block_rows) : batch_(batch), block_rows_(block_rows) {}

  SweepLayout lay_out(const std::vector<std::vector<KeyFactors>>& factors) {
    layout_.num_samples = batch_.pieces.size();
    for (std::size_t sample = 0; sample < layout_.num_samples; ++sample)
      place(sample, {});
    layout_.num_base_rows = layout_.segments.empty() ? 0 : num_rows();
    close_block();
    for (std::size_t sample = 0; sample < layout_.num_samples; ++sample)
      place_perturbed(sample, factors[sample]);
    close_block();

    layout_.num_rows = num_rows();
    layout_.num_target_rows = static_cast<std::int64_t>(indices_.target_row.size());
    layout_.positions = index_tensor(indices_.positions);
    layout_.fed_lengths = index_tensor(indices_.fed_lengths);
    layout_.base_row = index_tensor(indices_.base_row);
    layout_.target_row = index_tensor(indices_.target_row);
    layout_.target_ids = index_tensor(indices_.target_ids);
    layout_.base_target_row = index_tensor(indices_.base_target_row);
    return std::move(layout_);
  }

 private:
  std::int64_t num_rows() const { return static_cast<std::int64_t>(indices_.positions.size()); }

  void place_perturbed(std::size_t sample, const std::vector<KeyFactors>& factors) {
    const DistinctFactors distinct = distinct_factors(factors);
    const std::size_t first = layout_.segments.size();
    auto& segment_of = layout_.segment_of.emplace_back();
    for (const auto& index : distinct.index_of)
      segment_of.push_back(index ? std::optional(first + *index) : std::nullopt);
    for (const KeyFactors* one : distinct.factors) {
      place(sample, *one);
      if (num_rows() - open_.rows.begin >= block_rows_) close_block();
    }
  }

  // Gives a segment its rows, after all that have some already.
  void place(std::size_t sample, const KeyFactors& factors) {
    const BatchPiece& piece = batch_.pieces[sample];
    Segment segment;
    segment.sample = sample;
    segment.row_begin = factors.empty() ? 0 : factors.positions.front();
    segment.row_end = piece.fed_length();
    segment.target_row_begin = std::max(segment.row_begin, piece.first_target_row());
    segment.packed_begin = num_rows();
    segment.target_packed_begin = static_cast<std::int64_t>(indices_.target_row.size());
    segment.factors = factors;

    const Segment& base = factors.empty() ? segment : layout_.segments[sample];
    for (std::int64_t position = segment.row_begin; position < segment.row_end; ++position) {
      indices_.positions.push_back(position);
      indices_.fed_lengths.push_back(piece.fed_length());
      indices_.base_row.push_back(base.packed_begin + position);
    }
    for (std::int64_t row = segment.target_row_begin; row < segment.row_end; ++row) {
      indices_.target_row.push_back(segment.packed_begin + row - segment.row_begin);
      indices_.target_ids.push_back(
          piece.target_ids[static_cast<std::size_t>(row - piece.first_target_row())]);
      indices_.base_target_row.push_back(base.target_packed_begin + row - base.target_row_begin);
    }
    layout_.segments.push_back(std::move(segment));
  }

  // Ends the block of the segments since the last one.
  void close_block() {
    open_.segment_end = layout_.segments.size();
    open_.rows.end = num_rows();
    open_.target_rows.end = static_cast<std::int64_t>(indices_.target_row.size());
    open_.is_base = layout_.blocks.empty();
    if (open_.segment_begin < open_.segment_end) layout_.blocks.push_back(open_);
    open_ = {
        .segment_begin = open_.segment_end,
        .rows = {open_.rows.end, open_.rows.end},
        .target_rows = {open_.target_rows.end, open_.target_rows.end}};
  }

  const Batch& batch_;
  std::int64_t block_rows_;
  SweepLayout layout_;
  RowIndices indices_;
  RowBlock open_;
};

}  // namespace

at::Tensor moved_to(at::Device device, const at::Tensor& tensor) {
  if (device.is_cpu()) return tensor.to(device);
  return tensor.pin_memory().to(device, /*non_blocking=*/true);
}

at::Tensor rows_of(const at::Tensor& all, const Slice& slice) {
  return all.narrow(0, slice.begin, slice.size());
}

void SweepLayout::move_to(at::Device device) {
  for (at::Tensor* const tensor :
       {&positions, &fed_lengths, &base_row, &target_row, &target_ids, &base_target_row})
    *tensor = moved_to(device, *tensor);
}

at::Tensor hidden_rows(
    const SweepLayout& layout,
    const RowBlock& block,
    RowSet rows,
    std::int64_t window,
    SuppressionKind suppression) {
  std::vector<std::int64_t> hidden;
  std::int64_t first_row = 0;
  for (std::size_t i = block.segment_begin; i < block.segment_end; ++i) {
    const Segment& segment = layout.segments[i];
    const std::int64_t begin = rows == RowSet::All ? segment.row_begin : segment.target_row_begin;
    std::int64_t run = 0;  // of successive hidden keys
    std::int64_t run_end = -1;
    for (std::size_t k = 0; k < segment.factors.positions.size(); ++k) {
      if (suppression != SuppressionKind::LogAdditive || segment.factors.factors[k] != 0) continue;
      const std::int64_t position = segment.factors.positions[k];
      run = position == run_end ? run + 1 : 1;
      run_end = position + 1;
      const std::int64_t visible = window > 0 ? std::min(window, position + 1) : position + 1;
      if (run >= visible && position >= begin) hidden.push_back(first_row + position - begin);
    }
    first_row += segment.row_end - begin;
  }
  return index_tensor(hidden);
}

at::Tensor rows_by_base(const SweepLayout& layout, const RowBlock& block, RowSet rows) {
  std::vector<std::pair<std::int64_t, int>> base_and_row;
  for (std::size_t i = block.segment_begin; i < block.segment_end; ++i) {
    const Segment& segment = layout.segments[i];
    const std::int64_t first_base_row = layout.segments[segment.sample].packed_begin;
    const std::int64_t begin = rows == RowSet::All ? segment.row_begin : segment.target_row_begin;
    for (std::int64_t position = begin; position < segment.row_end; ++position) {
      base_and_row.emplace_back(first_base_row + position, static_cast<int>(base_and_row.size()));
    }
  }
  std::ranges::sort(base_and_row);
  std::vector<int> order;
  for (const auto& [base, row] : base_and_row)
    order.push_back(row);
  return at::tensor(order, at::kInt);
}

SweepLayout lay_out_sweep(
    const Batch& batch,
    const std::vector<std::vector<KeyFactors>>& factors,
    std::int64_t block_rows) {
  return Layouter(batch, block_rows).lay_out(factors);
}

}  // namespace limn
