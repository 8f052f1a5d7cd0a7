#include "coordinator/batch_plan.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace limn {

namespace {

// Rows that a sweep recomputes for a perturbation. Correlated suppression may reach any earlier
// key, which only the worker can tell: then all rows are counted.
std::int64_t perturbed_rows(
    const Perturbation& perturbation, std::int64_t fed_length, const Suppression& suppression) {
  if (suppression.factor == 1.0) return 0;
  if (suppression.similarity_threshold > 0) return fed_length;
  const auto first = std::ranges::find_if(perturbation.positions, [&](std::int32_t position) {
    return position > 0 || !suppression.spare_first_token;
  });
  if (first == perturbation.positions.end()) return 0;
  return std::max<std::int64_t>(fed_length - *first, 0);
}

// The piece of a sample without its perturbations.
BatchPiece piece_of(const Sample& sample) {
  BatchPiece piece;
  piece.sample_index = sample.index;
  piece.prompt_length = sample.prompt_length;
  for (const TokenRecord& token : sample.record.tokens)
    piece.tokens.push_back(token.id);
  piece.tokens.pop_back();
  for (const TargetRecord& target : sample.record.targets)
    piece.target_ids.push_back(target.token);
  return piece;
}

}  // namespace

std::vector<Perturbation> single_unit_perturbations(const SampleRecord& sample) {
  std::vector<Perturbation> perturbations;
  for (const UnitRecord& unit : sample.units)
    perturbations.push_back({unit.tokens});
  return perturbations;
}

void BatchPlanner::add(Sample added) {
  const auto sample = std::make_shared<const Sample>(std::move(added));
  const BatchPiece empty_piece = piece_of(*sample);
  const std::int64_t fed_length = sample->fed_length();
  std::vector<Perturbation> perturbations = single_unit_perturbations(sample->record);
  std::vector<std::int64_t> rows;
  for (const Perturbation& perturbation : perturbations) {
    rows.push_back(perturbed_rows(perturbation, fed_length, suppression_));
  }

  // A sample that fits into one batch is not cut, for every piece computes the base rows again.
  const std::int64_t sample_rows = std::accumulate(rows.begin(), rows.end(), fed_length);
  const bool fits_here = open_.rows + sample_rows <= batch_tokens_;
  if (open_.rows > 0 && !fits_here && sample_rows <= batch_tokens_) close_batch();

  bool piece_is_open = false;
  for (std::size_t i = 0; i < perturbations.size(); ++i) {
    const std::int64_t wanted = rows[i] + (piece_is_open ? 0 : fed_length);
    if (open_.rows > 0 && open_.rows + wanted > batch_tokens_) {
      close_batch();
      piece_is_open = false;
    }
    if (!piece_is_open) {
      BatchPiece piece = empty_piece;
      piece.perturbation_begin = static_cast<std::int64_t>(i);
      open_.batch.pieces.push_back(std::move(piece));
      open_.samples.push_back(sample);
      open_.rows += fed_length;
      piece_is_open = true;
    }
    open_.batch.pieces.back().perturbations.push_back(std::move(perturbations[i]));
    open_.rows += rows[i];
  }
}

void BatchPlanner::finish() {
  if (!open_.batch.pieces.empty()) close_batch();
}

std::optional<PlannedBatch> BatchPlanner::next() {
  if (complete_.empty()) return std::nullopt;
  PlannedBatch batch = std::move(complete_.front());
  complete_.pop_front();
  return batch;
}

void BatchPlanner::close_batch() {
  open_.batch.id = next_id_++;
  complete_.push_back(std::exchange(open_, {}));
}

}  // namespace limn
