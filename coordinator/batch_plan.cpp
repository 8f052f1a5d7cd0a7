#include "coordinator/batch_plan.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace limn {

namespace {

// Chosen with tests/bench/schedule_bench.cpp; docs/performance.md has its figures.

// A batch near the end may cost what is left, divided by this. With more, up to some tens of groups
// would wait less than they do, but a hundred samples on four groups would take longer in all, for
// every cut costs a base.
constexpr std::int64_t kShares = 8;

// Linear work that a batch may always have: a sweep of fewer rows would make little use of a GPU.
constexpr std::int64_t kLeastRows = 2048;

// A batch may always cost the whole, divided by this: what a group waits for that is not noticed.
constexpr std::int64_t kUnnoticedParts = 1000;

// What the perturbations of a piece that is cut for the time's sake cost at least, in bases of the
// sample.
constexpr double kLeastBasesOfPiece = 4;

// Skipped samples of a batch at most: what the coordinator holds must not grow with their number.
constexpr std::size_t kMostSkipped = 1024;

bool is_skipped(const Sample& sample) {
  return sample.record.status == SampleStatus::Skipped;
}

// What a sweep recomputes for a perturbation. Correlated suppression may reach any earlier
// key, which only the worker can tell: then all rows are counted.
SweepWork perturbed_work(
    const Perturbation& perturbation, std::int64_t fed_length, const Suppression& suppression) {
  if (suppression.factor == 1.0) return {};
  if (suppression.similarity_threshold > 0) return work_of_rows(0, fed_length);
  const auto first = std::ranges::find_if(perturbation.positions, [&](std::int32_t position) {
    return position > 0 || !suppression.spare_first_token;
  });
  if (first == perturbation.positions.end()) return {};
  return work_of_rows(std::min<std::int64_t>(*first, fed_length), fed_length);
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
  WaitingSample sample;
  sample.sample = std::make_shared<const Sample>(std::move(added));
  if (!is_skipped(*sample.sample)) {
    const std::int64_t fed_length = sample.sample->fed_length();
    sample.base = work_of_rows(0, fed_length);
    sample.perturbations = single_unit_perturbations(sample.sample->record);
    for (const Perturbation& perturbation : sample.perturbations) {
      sample.work.push_back(perturbed_work(perturbation, fed_length, options_.suppression));
      sample.left += sample.work.back();
    }
    total_work_ += sample.base + sample.left;
    waiting_work_ += sample.base + sample.left;
  }
  waiting_.push_back(std::move(sample));
  while (end_is_far() || next_is_skipped())
    plan_next();
}

void BatchPlanner::finish() {
  while (!waiting_.empty())
    plan_next();
  if (!open_.batch.pieces.empty() || !open_.skipped.empty()) close_batch();
}

std::optional<PlannedBatch> BatchPlanner::next() {
  if (complete_.empty()) return std::nullopt;
  PlannedBatch batch = std::move(complete_.front());
  complete_.pop_front();
  return batch;
}

bool BatchPlanner::end_is_far() const {
  return waiting_work_.rows / kShares >= options_.batch_tokens;
}

// These wait for nothing but their turn, or a dataset of nothing else would pile up.
bool BatchPlanner::next_is_skipped() const {
  return !waiting_.empty() && is_skipped(*waiting_.front().sample);
}

// Once the end is near all samples are here, for only then is anything planned.
double BatchPlanner::budget_of_next_batch() const {
  if (end_is_far()) return std::numeric_limits<double>::infinity();
  const double share = options_.cost.of(waiting_work_) / static_cast<double>(kShares);
  const double efficient = options_.cost.per_row * static_cast<double>(kLeastRows);
  const double unnoticed = options_.cost.of(total_work_) / static_cast<double>(kUnnoticedParts);
  return std::max({share, efficient, unnoticed});
}

void BatchPlanner::plan_next() {
  if (next_is_skipped()) return plan_skipped_sample();
  if (open_.batch.pieces.empty()) open_budget_ = budget_of_next_batch();
  WaitingSample& sample = waiting_.front();
  const Piece piece = next_piece(sample);
  if (!fits_open_batch(piece.work)) return close_batch();
  add_to_open_batch(sample, piece);
  if (sample.num_planned == sample.perturbations.size()) waiting_.pop_front();
}

void BatchPlanner::plan_skipped_sample() {
  open_.skipped.push_back(std::move(waiting_.front().sample));
  waiting_.pop_front();
  if (open_.skipped.size() == kMostSkipped) close_batch();
}

// An equal share of what is left of the sample, so that no small rest pays for the base again.
BatchPlanner::Piece BatchPlanner::next_piece(const WaitingSample& sample) const {
  const double wanted = options_.cost.of(sample.left) / static_cast<double>(num_pieces(sample));
  Piece piece{0, sample.base};
  double cost = 0;
  for (std::size_t i = sample.num_planned; i < sample.work.size(); ++i) {
    const double next_cost = options_.cost.of(sample.work[i]);
    const bool has_room = piece.work.rows + sample.work[i].rows <= options_.batch_tokens;
    const bool is_nearer = cost + next_cost / 2 <= wanted;
    if (piece.num_perturbations > 0 && !(has_room && is_nearer)) break;
    ++piece.num_perturbations;
    piece.work += sample.work[i];
    cost += next_cost;
  }
  return piece;
}

// In how many pieces what is left of a sample goes into batches of its own.
std::int64_t BatchPlanner::num_pieces(const WaitingSample& sample) const {
  const std::int64_t rows_of_piece =
      std::max<std::int64_t>(options_.batch_tokens - sample.base.rows, 1);
  const double for_memory =
      std::ceil(static_cast<double>(sample.left.rows) / static_cast<double>(rows_of_piece));

  const double base = options_.cost.of(sample.base);
  const double left = options_.cost.of(sample.left);
  const double worthwhile = std::floor(left / (kLeastBasesOfPiece * base));
  const double for_time =
      open_budget_ > base ? std::ceil(left / (open_budget_ - base)) : worthwhile;
  return static_cast<std::int64_t>(std::max({for_memory, std::min(for_time, worthwhile), 1.0}));
}

// An empty batch takes everything.
bool BatchPlanner::fits_open_batch(const SweepWork& work) const {
  if (open_.batch.pieces.empty()) return true;
  const SweepWork together = open_.work + work;
  return together.rows <= options_.batch_tokens && options_.cost.of(together) <= open_budget_;
}

void BatchPlanner::add_to_open_batch(WaitingSample& sample, const Piece& added) {
  const auto begin = sample.perturbations.begin() + static_cast<std::ptrdiff_t>(sample.num_planned);
  const auto end = begin + static_cast<std::ptrdiff_t>(added.num_perturbations);
  BatchPiece piece = piece_of(*sample.sample);
  piece.perturbation_begin = static_cast<std::int64_t>(sample.num_planned);
  piece.perturbations.assign(std::move_iterator(begin), std::move_iterator(end));
  open_.batch.pieces.push_back(std::move(piece));
  open_.samples.push_back(sample.sample);
  open_.work += added.work;

  SweepWork perturbed = added.work;
  perturbed -= sample.base;
  sample.left -= perturbed;
  waiting_work_ -= sample.num_planned == 0 ? added.work : perturbed;
  sample.num_planned += added.num_perturbations;
}

void BatchPlanner::close_batch() {
  open_.batch.id = next_id_++;
  complete_.push_back(std::exchange(open_, {}));
}

}  // namespace limn
