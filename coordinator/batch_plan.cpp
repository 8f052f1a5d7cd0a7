#include "coordinator/batch_plan.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <span>
#include <utility>

#include "storage/fingerprint.h"

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

// What a sweep recomputes for a perturbation from `row_begin` on. Correlated suppression may reach
// any earlier key, which only the worker can tell: then all rows are counted.
SweepWork perturbed_work(
    const Perturbation& perturbation,
    std::int64_t row_begin,
    std::int64_t fed_length,
    const Suppression& suppression) {
  if (suppression.factor == 1.0) return {};
  if (suppression.similarity_threshold > 0) return work_of_rows(row_begin, fed_length);
  const auto first = std::ranges::find_if(perturbation.positions, [&](std::int32_t position) {
    return position > 0 || !suppression.spare_first_token;
  });
  if (first == perturbation.positions.end()) return {};
  const std::int64_t first_row = std::max<std::int64_t>(*first, row_begin);
  return work_of_rows(std::min(first_row, fed_length), fed_length);
}

bool have_same_prompt(const Sample& sample, const Sample& other) {
  if (sample.prompt_length != other.prompt_length) return false;
  const auto id = [](const TokenRecord& token) { return token.id; };
  const auto prompt_of = [](const Sample& one) {
    return std::span(one.record.tokens).first(static_cast<std::size_t>(one.prompt_length));
  };
  return std::ranges::equal(prompt_of(sample), prompt_of(other), {}, id, id);
}

// The piece of a sample without its perturbations.
BatchPiece piece_of(const Sample& sample) {
  BatchPiece piece;
  piece.sample_index = sample.index;
  piece.sample_id = sample.record.id;
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

std::int64_t contents_of(const PlannedBatch& planned) {
  Fingerprint fingerprint;
  fingerprint.add(to_bytes(planned.batch));
  // Not why they are skipped: that names the dataset's file, which may be called otherwise now.
  for (const auto& sample : planned.skipped)
    fingerprint.add(sample->record.id);
  return fingerprint.number();
}

void BatchPlanner::add(Sample sample) {
  std::vector<Sample> one;
  one.push_back(std::move(sample));
  add_together(std::move(one));
}

void BatchPlanner::add_alternatives(std::vector<Sample> samples) {
  // A tokenizer may merge the end of the prompt with the start of a target; and where rows depend
  // on what follows them nothing can be shared.
  const bool can_share =
      options_.cost.is_causal && options_.suppression.kind != SuppressionKind::ShiftedFull;
  std::vector<Sample> together;
  for (Sample& sample : samples) {
    if (!together.empty() && !(can_share && have_same_prompt(together.front(), sample))) {
      add_together(std::exchange(together, {}));
    }
    together.push_back(std::move(sample));
  }
  if (!together.empty()) add_together(std::move(together));
}

void BatchPlanner::add_together(std::vector<Sample> samples) {
  WaitingSamples waiting;
  if (is_skipped(samples.front())) {
    waiting.samples.push_back(std::make_shared<const Sample>(std::move(samples.front())));
    samples.clear();
  }
  for (Sample& sample : samples) {
    const std::int64_t fed_length = sample.fed_length();
    const bool is_first = waiting.samples.empty();
    // The last row of the prompt is each sample's own: it is the first one that a target is read
    // at.
    const std::int64_t shared_rows = is_first ? 0 : sample.prompt_length - 1;
    waiting.base += work_of_rows(shared_rows, fed_length);
    auto& perturbations =
        waiting.perturbations.emplace_back(single_unit_perturbations(sample.record));
    waiting.work.resize(std::max(waiting.work.size(), perturbations.size()));
    for (std::size_t i = 0; i < perturbations.size(); ++i) {
      const auto& of_first = waiting.perturbations.front();
      const bool is_shared = !is_first && i < of_first.size() && of_first[i] == perturbations[i];
      waiting.work[i] += perturbed_work(
          perturbations[i], is_shared ? shared_rows : 0, fed_length, options_.suppression);
    }
    waiting.samples.push_back(std::make_shared<const Sample>(std::move(sample)));
  }
  for (const SweepWork& work : waiting.work)
    waiting.left += work;
  total_work_ += waiting.base + waiting.left;
  waiting_work_ += waiting.base + waiting.left;
  waiting_.push_back(std::move(waiting));
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
  return !waiting_.empty() && is_skipped(*waiting_.front().samples.front());
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
  WaitingSamples& waiting = waiting_.front();
  const Piece piece = next_piece(waiting);
  if (!fits_open_batch(piece.work)) return close_batch();
  add_to_open_batch(waiting, piece);
  if (waiting.num_planned == waiting.work.size()) waiting_.pop_front();
}

void BatchPlanner::plan_skipped_sample() {
  open_.skipped.push_back(std::move(waiting_.front().samples.front()));
  waiting_.pop_front();
  if (open_.skipped.size() == kMostSkipped) close_batch();
}

// An equal share of what is left of the sample, so that no small rest pays for the base again.
BatchPlanner::Piece BatchPlanner::next_piece(const WaitingSamples& waiting) const {
  const double wanted = options_.cost.of(waiting.left) / static_cast<double>(num_pieces(waiting));
  Piece piece{0, waiting.base};
  double cost = 0;
  for (std::size_t i = waiting.num_planned; i < waiting.work.size(); ++i) {
    const double next_cost = options_.cost.of(waiting.work[i]);
    const bool has_room = piece.work.rows + waiting.work[i].rows <= options_.batch_tokens;
    const bool is_nearer = cost + next_cost / 2 <= wanted;
    if (piece.num_perturbations > 0 && !(has_room && is_nearer)) break;
    ++piece.num_perturbations;
    piece.work += waiting.work[i];
    cost += next_cost;
  }
  return piece;
}

// In how many pieces what is left of a sample goes into batches of its own.
std::int64_t BatchPlanner::num_pieces(const WaitingSamples& waiting) const {
  const std::int64_t rows_of_piece =
      std::max<std::int64_t>(options_.batch_tokens - waiting.base.rows, 1);
  const double for_memory =
      std::ceil(static_cast<double>(waiting.left.rows) / static_cast<double>(rows_of_piece));

  const double base = options_.cost.of(waiting.base);
  const double left = options_.cost.of(waiting.left);
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

void BatchPlanner::add_to_open_batch(WaitingSamples& waiting, const Piece& added) {
  const std::size_t index_begin = waiting.num_planned;
  const std::size_t index_end = index_begin + added.num_perturbations;
  std::optional<std::size_t> stem;
  for (std::size_t i = 0; i < waiting.samples.size(); ++i) {
    std::vector<Perturbation>& perturbations = waiting.perturbations[i];
    if (index_begin >= perturbations.size()) continue;
    BatchPiece piece = piece_of(*waiting.samples[i]);
    piece.perturbation_begin = static_cast<std::int64_t>(index_begin);
    const auto begin = perturbations.begin() + static_cast<std::ptrdiff_t>(index_begin);
    const auto end = perturbations.begin() +
                     static_cast<std::ptrdiff_t>(std::min(index_end, perturbations.size()));
    piece.perturbations.assign(std::move_iterator(begin), std::move_iterator(end));
    piece.stem = stem;
    if (!stem) stem = open_.batch.pieces.size();
    open_.batch.pieces.push_back(std::move(piece));
    open_.samples.push_back(waiting.samples[i]);
  }
  open_.work += added.work;

  SweepWork perturbed = added.work;
  perturbed -= waiting.base;
  waiting.left -= perturbed;
  waiting_work_ -= index_begin == 0 ? added.work : perturbed;
  waiting.num_planned = index_end;
}

void BatchPlanner::close_batch() {
  open_.batch.id = next_id_++;
  complete_.push_back(std::exchange(open_, {}));
}

}  // namespace limn
