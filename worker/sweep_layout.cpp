#include "worker/sweep_layout.h"

#include <algorithm>
#include <map>
#include <numeric>
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
};

at::Tensor index_tensor(const std::vector<std::int64_t>& values) {
  return at::tensor(values, at::kLong);
}

// The distinct perturbations of a piece that touch a key, by descending first key, and for each
// perturbation of the piece its segment.
SampleSegments distinct_segments(const BatchPiece& piece, const std::vector<KeyFactors>& factors) {
  SampleSegments sample;
  sample.base.row_end = piece.fed_length();
  sample.base.target_row_begin = piece.first_target_row();

  using Key = std::pair<std::vector<std::int64_t>, std::vector<float>>;
  std::map<Key, std::size_t> known;  // factors -> index into `perturbed`, before sorting
  for (const KeyFactors& one : factors) {
    if (one.empty()) {
      sample.segment_of.push_back(std::nullopt);
      continue;
    }
    const auto [entry, is_new] =
        known.try_emplace({one.positions, one.factors}, sample.perturbed.size());
    sample.segment_of.push_back(entry->second);
    if (!is_new) continue;
    Segment segment;
    segment.row_begin = one.positions.front();
    segment.row_end = piece.fed_length();
    segment.target_row_begin = std::max(segment.row_begin, piece.first_target_row());
    segment.factors = one;
    sample.perturbed.push_back(std::move(segment));
  }

  std::vector<std::size_t> order(sample.perturbed.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(
      order, std::ranges::greater{}, [&](std::size_t i) { return sample.perturbed[i].row_begin; });
  std::vector<std::size_t> rank_of(order.size());
  std::vector<Segment> sorted;
  for (std::size_t rank = 0; rank < order.size(); ++rank) {
    rank_of[order[rank]] = rank;
    sorted.push_back(std::move(sample.perturbed[order[rank]]));
  }
  sample.perturbed = std::move(sorted);
  for (auto& segment : sample.segment_of) {
    if (segment) segment = rank_of[*segment];
  }
  return sample;
}

// Gives a segment its rows, after all that have some already.
void place(
    Segment& segment, const BatchPiece& piece, std::int64_t base_begin, RowIndices& indices) {
  segment.packed_begin = static_cast<std::int64_t>(indices.positions.size());
  segment.target_packed_begin = static_cast<std::int64_t>(indices.target_row.size());
  for (std::int64_t position = segment.row_begin; position < segment.row_end; ++position) {
    indices.positions.push_back(position);
    indices.fed_lengths.push_back(piece.fed_length());
    indices.base_row.push_back(base_begin + position);
  }
  for (std::int64_t row = segment.target_row_begin; row < segment.row_end; ++row) {
    indices.target_row.push_back(segment.packed_begin + row - segment.row_begin);
    indices.target_ids.push_back(
        piece.target_ids[static_cast<std::size_t>(row - piece.first_target_row())]);
  }
}

}  // namespace

SweepLayout lay_out_sweep(const Batch& batch, const std::vector<std::vector<KeyFactors>>& factors) {
  SweepLayout layout;
  RowIndices indices;
  for (std::size_t i = 0; i < batch.pieces.size(); ++i) {
    const BatchPiece& piece = batch.pieces[i];
    SampleSegments sample = distinct_segments(piece, factors[i]);
    place(sample.base, piece, static_cast<std::int64_t>(indices.positions.size()), indices);
    layout.samples.push_back(std::move(sample));
  }
  layout.num_base_rows = static_cast<std::int64_t>(indices.positions.size());

  for (std::size_t i = 0; i < batch.pieces.size(); ++i) {
    SampleSegments& sample = layout.samples[i];
    for (Segment& segment : sample.perturbed) {
      place(segment, batch.pieces[i], sample.base.packed_begin, indices);
    }
  }
  layout.num_rows = static_cast<std::int64_t>(indices.positions.size());
  layout.num_target_rows = static_cast<std::int64_t>(indices.target_row.size());
  layout.positions = index_tensor(indices.positions);
  layout.fed_lengths = index_tensor(indices.fed_lengths);
  layout.base_row = index_tensor(indices.base_row);
  layout.target_row = index_tensor(indices.target_row);
  layout.target_ids = index_tensor(indices.target_ids);
  return layout;
}

}  // namespace limn
