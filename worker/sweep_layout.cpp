#include "worker/sweep_layout.h"

#include <algorithm>
#include <map>
#include <optional>
#include <span>
#include <utility>

#include <ATen/ATen.h>

#include "storage/error.h"

namespace limn {

namespace {

// Index tensors under construction, one entry for each packed row or target row.
struct RowIndices {
  std::vector<std::int64_t> positions;
  std::vector<std::int64_t> fed_lengths;
  std::vector<std::int64_t> base_row;
  std::vector<std::int64_t> key_row;
  std::vector<std::int64_t> fed_token;
  std::vector<std::int64_t> target_row;
  std::vector<std::int64_t> target_ids;
  std::vector<std::int64_t> base_target_row;
};

// The distinct perturbations of a piece that touch a key, and for each perturbation which of them.
struct DistinctFactors {
  std::vector<const KeyFactors*> factors;
  std::vector<std::optional<std::size_t>> index_of;
};

// Positions and factors, in an order.
using FactorKey = std::pair<std::vector<std::int64_t>, std::vector<float>>;

DistinctFactors distinct_factors(const std::vector<KeyFactors>& factors) {
  DistinctFactors distinct;
  std::map<FactorKey, std::size_t> known;
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

// The rows of a piece that are those of its stem: all of the prompt but the last, at which the
// first target is read.
std::int64_t rows_of_stem(const BatchPiece& piece) {
  return piece.stem ? piece.first_target_row() : 0;
}

void check_stem(const Batch& batch, std::size_t piece) {
  const BatchPiece& of = batch.pieces[piece];
  if (!of.stem) return;
  check(*of.stem < piece && !batch.pieces[*of.stem].stem, "piece {} has a wrong stem", piece);
  const BatchPiece& stem = batch.pieces[*of.stem];
  const auto prompt_length = static_cast<std::size_t>(of.prompt_length);
  check(
      stem.prompt_length == of.prompt_length && std::ranges::equal(
                                                    std::span(stem.tokens).first(prompt_length),
                                                    std::span(of.tokens).first(prompt_length)),
      "piece {} has another prompt than its stem",
      piece);
}

// What rows before `position` see of the factors.
FactorKey seen_before(const KeyFactors& factors, std::int64_t position) {
  const auto count =
      std::ranges::lower_bound(factors.positions, position) - factors.positions.begin();
  return {
      {factors.positions.begin(), factors.positions.begin() + count},
      {factors.factors.begin(), factors.factors.begin() + count}};
}

// Lays a batch out segment by segment.
class Layouter {
 public:
  Layouter(const Batch& batch, std::int64_t block_rows) : batch_(batch), block_rows_(block_rows) {}

  SweepLayout lay_out(const std::vector<std::vector<KeyFactors>>& factors) {
    layout_.num_samples = batch_.pieces.size();
    layout_.segment_of.resize(layout_.num_samples);
    for (std::size_t sample = 0; sample < layout_.num_samples; ++sample) {
      check_stem(batch_, sample);
      const auto& stem = layout_.stem_of.emplace_back(batch_.pieces[sample].stem);
      place(sample, {}, stem ? &layout_.segments[*stem] : nullptr);
    }
    layout_.num_base_rows = layout_.segments.empty() ? 0 : num_rows();
    close_block();
    for (std::size_t sample = 0; sample < layout_.num_samples; ++sample) {
      if (!layout_.stem_of[sample]) place_perturbed_of_stem(sample, factors);
    }
    close_block();

    layout_.num_rows = num_rows();
    layout_.num_target_rows = static_cast<std::int64_t>(indices_.target_row.size());
    layout_.positions = index_tensor(indices_.positions);
    layout_.fed_lengths = index_tensor(indices_.fed_lengths);
    layout_.base_row = index_tensor(indices_.base_row);
    layout_.key_row = index_tensor(indices_.key_row);
    layout_.fed_token = index_tensor(indices_.fed_token);
    layout_.target_row = index_tensor(indices_.target_row);
    layout_.target_ids = index_tensor(indices_.target_ids);
    layout_.base_target_row = index_tensor(indices_.base_target_row);
    return std::move(layout_);
  }

 private:
  // A sample's perturbations while they are placed.
  struct Unplaced {
    std::size_t sample = 0;
    DistinctFactors distinct;
    std::vector<std::optional<std::size_t>> segments;  // of each of the distinct ones
    // The distinct ones by what rows that may be shared with a stem see of them.
    std::multimap<FactorKey, std::size_t> by_shared;
  };

  std::int64_t num_rows() const { return static_cast<std::int64_t>(indices_.positions.size()); }

  std::int64_t num_keys() const { return static_cast<std::int64_t>(indices_.key_row.size()); }

  // Those of a piece without stem, and of all pieces whose stem it is.
  void place_perturbed_of_stem(
      std::size_t stem, const std::vector<std::vector<KeyFactors>>& factors) {
    std::vector<Unplaced> all;
    for (std::size_t sample = stem; sample < layout_.num_samples; ++sample) {
      if (sample != stem && batch_.pieces[sample].stem != stem) continue;
      Unplaced& added = all.emplace_back();
      added.sample = sample;
      added.distinct = distinct_factors(factors[sample]);
      added.segments.resize(added.distinct.factors.size());
      if (sample == stem) continue;
      const std::int64_t shared_end = rows_of_stem(batch_.pieces[sample]);
      for (std::size_t i = 0; i < added.segments.size(); ++i)
        added.by_shared.emplace(seen_before(*added.distinct.factors[i], shared_end), i);
    }
    for (std::size_t i = 0; i < all.front().segments.size(); ++i) {
      const std::size_t of_stem = place_one(all.front(), i, nullptr);
      for (std::size_t k = 1; k < all.size(); ++k)
        place_sharing(all[k], of_stem);
      close_full_block();
    }
    for (Unplaced& rest : all) {
      for (std::size_t i = 0; i < rest.segments.size(); ++i) {
        if (rest.segments[i]) continue;
        place_one(rest, i, nullptr);
        close_full_block();
      }
      for (const auto& index : rest.distinct.index_of)
        layout_.segment_of[rest.sample].push_back(index ? rest.segments[*index] : std::nullopt);
    }
  }

  std::size_t place_one(Unplaced& of, std::size_t i, const Segment* shared) {
    of.segments[i] = layout_.segments.size();
    place(of.sample, *of.distinct.factors[i], shared);
    return *of.segments[i];
  }

  // Those that change the rows of the prompt as a segment of the stem does.
  void place_sharing(Unplaced& of, std::size_t of_stem) {
    const std::int64_t shared_end = rows_of_stem(batch_.pieces[of.sample]);
    // A copy: segments move as more are placed.
    const Segment shared = layout_.segments[of_stem];
    if (shared.key_begin >= shared_end) return;
    const auto [begin, end] = of.by_shared.equal_range(seen_before(shared.factors, shared_end));
    for (auto entry = begin; entry != end; ++entry) {
      if (!of.segments[entry->second]) place_one(of, entry->second, &shared);
    }
  }

  // Gives a segment its rows, after all that have some already: those that it does not share with
  // `shared`, which may be null.
  void place(std::size_t sample, const KeyFactors& factors, const Segment* shared) {
    const BatchPiece& piece = batch_.pieces[sample];
    Segment segment;
    segment.sample = sample;
    segment.key_begin = factors.empty() ? 0 : factors.positions.front();
    segment.row_begin = shared != nullptr ? rows_of_stem(piece) : segment.key_begin;
    segment.row_end = piece.fed_length();
    segment.target_row_begin = std::max(segment.row_begin, piece.first_target_row());
    segment.packed_begin = num_rows();
    segment.key_packed_begin = num_keys();
    segment.target_packed_begin = static_cast<std::int64_t>(indices_.target_row.size());
    segment.factors = factors;

    const bool is_base = factors.empty();
    for (std::int64_t position = segment.key_begin; position < segment.row_begin; ++position)
      indices_.key_row.push_back(shared->packed_begin + position - shared->row_begin);
    for (std::int64_t position = segment.row_begin; position < segment.row_end; ++position) {
      indices_.key_row.push_back(num_rows());
      if (is_base) indices_.fed_token.push_back(num_fed_tokens_ + position);
      indices_.base_row.push_back(is_base ? num_rows() : layout_.base_row_at(sample, position));
      indices_.positions.push_back(position);
      indices_.fed_lengths.push_back(piece.fed_length());
    }
    if (is_base) num_fed_tokens_ += piece.fed_length();
    const Segment& base = is_base ? segment : layout_.segments[sample];
    for (std::int64_t row = segment.target_row_begin; row < segment.row_end; ++row) {
      indices_.target_row.push_back(segment.packed_begin + row - segment.row_begin);
      indices_.target_ids.push_back(
          piece.target_ids[static_cast<std::size_t>(row - piece.first_target_row())]);
      indices_.base_target_row.push_back(base.target_packed_begin + row - base.target_row_begin);
    }
    layout_.segments.push_back(std::move(segment));
  }

  void close_full_block() {
    if (num_rows() - open_.rows.begin >= block_rows_) close_block();
  }

  // Ends the block of the segments since the last one.
  void close_block() {
    open_.segment_end = layout_.segments.size();
    open_.rows.end = num_rows();
    open_.keys.end = num_keys();
    open_.target_rows.end = static_cast<std::int64_t>(indices_.target_row.size());
    open_.is_base = layout_.blocks.empty();
    if (open_.segment_begin < open_.segment_end) layout_.blocks.push_back(open_);
    open_ = {
        .segment_begin = open_.segment_end,
        .rows = {open_.rows.end, open_.rows.end},
        .keys = {open_.keys.end, open_.keys.end},
        .target_rows = {open_.target_rows.end, open_.target_rows.end}};
  }

  const Batch& batch_;
  std::int64_t block_rows_;
  SweepLayout layout_;
  RowIndices indices_;
  RowBlock open_;
  std::int64_t num_fed_tokens_ = 0;  // of the bases so far
};

}  // namespace

at::Tensor moved_to(at::Device device, const at::Tensor& tensor) {
  if (device.is_cpu()) return tensor.to(device);
  return tensor.pin_memory().to(device, /*non_blocking=*/true);
}

at::Tensor index_tensor(const std::vector<std::int64_t>& values) {
  return at::tensor(values, at::kLong);
}

at::Tensor rows_of(const at::Tensor& all, const Slice& slice) {
  return all.narrow(0, slice.begin, slice.size());
}

std::int64_t SweepLayout::base_row_at(std::size_t sample, std::int64_t position) const {
  const Segment& base = segments[sample];
  if (position >= base.row_begin) return base.packed_begin + position - base.row_begin;
  return segments[*stem_of[sample]].packed_begin + position;
}

void SweepLayout::move_to(at::Device device) {
  for (at::Tensor* const tensor :
       {&positions,
        &fed_lengths,
        &base_row,
        &key_row,
        &fed_token,
        &target_row,
        &target_ids,
        &base_target_row})
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
    const std::int64_t begin = rows == RowSet::All ? segment.row_begin : segment.target_row_begin;
    for (std::int64_t position = begin; position < segment.row_end; ++position) {
      base_and_row.emplace_back(
          layout.base_row_at(segment.sample, position), static_cast<int>(base_and_row.size()));
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
