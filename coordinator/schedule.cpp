#include "coordinator/schedule.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include <spdlog/spdlog.h>

#include "coordinator/protocol.h"
#include "storage/error.h"

namespace limn {

namespace {

constexpr auto kReportEvery = std::chrono::milliseconds(100);

// How long to wait for a letter before looking whether a stop was asked for.
constexpr auto kPatience = std::chrono::milliseconds(50);

// A sample's record as a part holds it before any of its batches is committed.
SampleRecord unmeasured(const Sample& sample) {
  SampleRecord record = sample.record;
  record.delta.assign(
      record.units.size() * record.targets.size(), std::numeric_limits<float>::quiet_NaN());
  return record;
}

bool all_finite(const std::vector<float>& values) {
  return std::ranges::all_of(values, [](float value) { return std::isfinite(value); });
}

// Perturbations are single units: row i of a sample's deltas is perturbation i.
void add_result(const PieceResult& piece, SampleRecord& record) {
  const std::size_t num_targets = record.targets.size();
  const std::size_t begin = static_cast<std::size_t>(piece.perturbation_begin) * num_targets;
  check(
      piece.base_log_prob.size() == num_targets &&
          begin + piece.delta.size() <= record.delta.size(),
      "a result that does not fit sample {}",
      record.id);
  std::ranges::copy(piece.delta, record.delta.begin() + static_cast<std::ptrdiff_t>(begin));
  // Every batch of a sample measures its base; the first one's value is kept, for bits may differ
  // between packings and the file must not depend on timing.
  if (piece.perturbation_begin == 0) {
    for (std::size_t i = 0; i < num_targets; ++i) {
      record.targets[i].log_prob = piece.base_log_prob[i];
    }
  }
  if (!all_finite(piece.base_log_prob) || !all_finite(piece.delta)) {
    record.status = SampleStatus::Failed;
    record.message = "log-probabilities are not finite";
  }
}

}  // namespace

Schedule::Schedule(
    const Mailbox& mailbox,
    BatchSource& source,
    RunDirectory& run_directory,
    ScheduleOptions options)
    : mailbox_(mailbox),
      source_(source),
      run_directory_(run_directory),
      options_(std::move(options)) {
  progress_.samples_total = options_.survey.num_samples;
  progress_.batches_total = options_.survey.num_batches;
  progress_.rows_total = options_.survey.remaining_rows;
  for (const int rank : options_.leaders)
    leaders_.push_back({.rank = rank});
  num_letters_due_ = std::ssize(leaders_) * kBatchesHeld;
}

RunOutcome Schedule::run() {
  try {
    return serve();
  } catch (...) {
    // Whoever comes next has the run directory to himself.
    if (sealing_.valid()) sealing_.wait();
    dismiss_leaders();
    throw;
  }
}

RunOutcome Schedule::serve() {
  while ((takes_more_ && !source_is_dry_) || !handed_out_.empty()) {
    const StopRequest request = current_request();
    if (request == StopRequest::Now) {
      seal_everything();
      report();
      return RunOutcome::Stopped;
    }
    if (request == StopRequest::FinishPart) takes_more_ = false;
    if (takes_more_) hand_out();
    receive_letters();
    if (has_sealed()) end_seal();
    seal_if_due();
    if (Clock::now() - last_report_ >= kReportEvery) report();
  }
  seal_everything();
  // A stop may have been asked for when the last batch was out already. Behind that there may be
  // batches that need no leader.
  const bool is_done = !next_unfinished();
  seal_everything();
  report();
  dismiss_leaders();
  return is_done ? RunOutcome::Done : RunOutcome::Stopped;
}

StopRequest Schedule::current_request() const {
  return abandoned_.load() ? StopRequest::Now : options_.stop_request();
}

void Schedule::receive_letters() {
  auto letter = letter_within(kPatience);
  for (; letter; letter = letter_within(std::chrono::milliseconds(0)))
    take(*letter);
}

void Schedule::take(const Letter& letter) {
  const auto leader = std::ranges::find(leaders_, letter.from, &Leader::rank);
  check(leader != leaders_.end(), "a letter from rank {}, which leads no group", letter.from);
  if (!letter.bytes.empty()) {
    commit(result_from_bytes(letter.bytes));
    --leader->num_held;
  }
  ++leader->num_asked_for;
}

std::optional<Letter> Schedule::letter_within(std::chrono::milliseconds time) {
  auto letter = mailbox_.receive_within(static_cast<int>(LetterTag::ToCoordinator), time);
  if (letter) --num_letters_due_;
  return letter;
}

// The one that a batch goes to, if any. Where there are few batches, the first leader to ask must
// not get its second one while another has none yet.
Schedule::Leader* Schedule::next_leader() {
  const int fewest = std::ranges::min(leaders_, {}, &Leader::num_held).num_held;
  const auto found = std::ranges::find_if(leaders_, [&](const Leader& leader) {
    return leader.num_held == fewest && leader.num_asked_for > 0;
  });
  return found == leaders_.end() ? nullptr : &*found;
}

void Schedule::hand_out() {
  while (!source_is_dry_) {
    Leader* const leader = next_leader();
    if (leader == nullptr) return;
    auto planned = next_unfinished();
    if (!planned) return;
    mailbox_.send(leader->rank, static_cast<int>(LetterTag::ToLeader), to_bytes(planned->batch));
    ++leader->num_held;
    --leader->num_asked_for;
    ++num_letters_due_;
    const std::int64_t id = planned->batch.id;
    handed_out_.emplace(id, *std::move(planned));
  }
}

std::optional<PlannedBatch> Schedule::next_unfinished() {
  while (auto planned = source_.next()) {
    for (std::size_t i = 0; i < planned->samples.size(); ++i) {
      const Sample& sample = *planned->samples[i];
      const auto num_units = static_cast<std::int64_t>(sample.record.units.size());
      open_perturbations_.try_emplace(sample.index, num_units);
    }
    if (options_.finished_batches.contains(planned->batch.id)) {
      count_as_done(*planned);
    } else if (planned->batch.pieces.empty()) {
      commit(*planned, {.batch_id = planned->batch.id, .pieces = {}});
      seal_if_due();
    } else {
      return planned;
    }
  }
  source_is_dry_ = true;
  return std::nullopt;
}

void Schedule::commit(const BatchResult& result) {
  const auto found = handed_out_.find(result.batch_id);
  check(found != handed_out_.end(), "a result of batch {}, which nobody has", result.batch_id);
  commit(found->second, result);
  handed_out_.erase(found);
}

void Schedule::commit(const PlannedBatch& planned, const BatchResult& result) {
  check(result.pieces.size() == planned.samples.size(), "a result with pieces missing");
  for (std::size_t i = 0; i < result.pieces.size(); ++i) {
    const Sample& sample = *planned.samples[i];
    const auto [entry, is_new] = part_.samples.try_emplace(sample.index);
    if (is_new) entry->second = unmeasured(sample);
    add_result(result.pieces[i], entry->second);
  }
  for (const auto& skipped : planned.skipped)
    part_.samples.try_emplace(skipped->index, skipped->record);
  part_.batch_ids.push_back(result.batch_id);
  progress_.rows_done += planned.work.rows;
  count_as_done(planned);
}

void Schedule::count_as_done(const PlannedBatch& planned) {
  ++progress_.batches_done;
  progress_.samples_done += std::ssize(planned.skipped);
  for (const BatchPiece& piece : planned.batch.pieces) {
    const auto open = open_perturbations_.find(piece.sample_index);
    open->second -= static_cast<std::int64_t>(piece.perturbations.size());
    if (open->second > 0) continue;
    ++progress_.samples_done;
    open_perturbations_.erase(open);
  }
}

void Schedule::seal_if_due() {
  const auto interval = std::chrono::duration<double>(options_.interval_s);
  if (Clock::now() - last_seal_ >= interval) begin_seal();
}

// Waits for the part before, so that there are never more than two in memory.
void Schedule::begin_seal() {
  last_seal_ = Clock::now();
  if (part_.empty()) return;
  end_seal();
  std::ranges::sort(part_.batch_ids);
  sealing_ = std::async(std::launch::async, [this, part = std::exchange(part_, {})] {
    run_directory_.seal(part);
    return std::ssize(part.batch_ids);
  });
}

bool Schedule::has_sealed() const {
  return sealing_.valid() &&
         sealing_.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

// Throws what sealing threw.
void Schedule::end_seal() {
  if (!sealing_.valid()) return;
  const std::int64_t num_batches = sealing_.get();
  num_sealed_batches_ += num_batches;
  spdlog::debug("sealed a part of {} batches", num_batches);
}

void Schedule::seal_everything() {
  begin_seal();
  end_seal();
}

void Schedule::dismiss_leaders() {
  // No letter may stay unopened: its sender would wait for that at its end, and Open MPI 4 was seen
  // to deliver it to the next communicator.
  while (num_letters_due_ > 0 && !abandoned_.load())
    letter_within(kPatience);
  for (const Leader& leader : leaders_) {
    mailbox_.send(leader.rank, static_cast<int>(LetterTag::ToLeader), {});
  }
}

void Schedule::report() {
  last_report_ = Clock::now();
  progress_.elapsed_s = std::chrono::duration<double>(last_report_ - start_).count();
  options_.report(progress_);
}

}  // namespace limn
