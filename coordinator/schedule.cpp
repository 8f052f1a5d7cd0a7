#include "coordinator/schedule.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include <spdlog/spdlog.h>

#include "storage/error.h"

namespace limn {

namespace {

// A sample's record as a part holds it before any of its batches is committed.
SampleRecord unmeasured(const Sample& sample) {
  SampleRecord record = sample.record;
  record.delta.assign(
      record.units.size() * record.targets.size(), std::numeric_limits<float>::quiet_NaN());
  return record;
}

// In memory, about.
std::int64_t bytes_in(const SampleRecord& record) {
  std::size_t bytes = sizeof record + record.text.size() + 4 * record.delta.size() +
                      sizeof(TokenRecord) * record.tokens.size() +
                      sizeof(TargetRecord) * record.targets.size();
  for (const UnitRecord& unit : record.units)
    bytes += sizeof unit + 4 * unit.tokens.size();
  return static_cast<std::int64_t>(bytes);
}

bool all_finite(const std::vector<float>& values) {
  return std::ranges::all_of(values, [](float value) { return std::isfinite(value); });
}

// A unit of the target says nothing of tokens up to its own, though correlated suppression may have
// hidden keys before them.
void clear_before_target_units(
    const Sample& sample, const PieceResult& piece, SampleRecord& record) {
  const std::size_t num_targets = record.targets.size();
  const std::size_t num_prompt_units =
      record.units.size() - static_cast<std::size_t>(sample.num_target_units);
  const auto begin = static_cast<std::size_t>(piece.perturbation_begin);
  const std::size_t end = begin + piece.delta.size() / num_targets;
  for (std::size_t unit = std::max(begin, num_prompt_units); unit < end; ++unit) {
    for (std::size_t i = 0; i < num_targets; ++i) {
      if (record.targets[i].position <= record.units[unit].tokens.front())
        record.delta[unit * num_targets + i] = 0;
    }
  }
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
    : dealer_(mailbox, options.service.leaders),
      source_(source),
      run_directory_(run_directory),
      options_(std::move(options)),
      reporter_(options_.service.report) {
  progress_.samples_total = options_.survey.num_samples;
  progress_.batches_total = options_.survey.num_batches;
  progress_.rows_total = options_.survey.remaining_rows;
}

RunOutcome Schedule::run() {
  try {
    return serve();
  } catch (...) {
    // Whoever comes next has the run directory to himself.
    if (sealing_.valid()) sealing_.wait();
    has_left_in_order_ = dealer_.dismiss_soon();
    throw;
  }
}

RunOutcome Schedule::serve() {
  while ((takes_more_ && !source_is_dry_) || !handed_out_.empty()) {
    const StopRequest request = current_request();
    if (request == StopRequest::Now) {
      seal_everything();
      reporter_.report(progress_);
      return RunOutcome::Stopped;
    }
    if (request == StopRequest::FinishPart) takes_more_ = false;
    if (takes_more_ && !waits_for_disk()) hand_out();
    dealer_.receive([this](auto bytes) { commit(result_from_bytes(bytes)); });
    dealer_.expect_results(options_.service.timeout_s);
    if (!is_sealing()) end_seal();
    seal_if_due();
    reporter_.report_if_due(progress_);
  }
  seal_everything();
  // A stop may have been asked for when the last batch was out already. Behind that there may be
  // batches that need no leader.
  const bool is_done = !next_unfinished();
  seal_everything();
  reporter_.report(progress_);
  dealer_.dismiss();
  return is_done ? RunOutcome::Done : RunOutcome::Stopped;
}

StopRequest Schedule::current_request() const {
  return dealer_.is_abandoned() ? StopRequest::Now : options_.service.stop_request();
}

void Schedule::hand_out() {
  while (!source_is_dry_ && dealer_.has_taker()) {
    takes_more_ = options_.service.has_time_for(dealer_.seconds_to_finish_next());
    if (!takes_more_) return;
    auto planned = next_unfinished();
    if (!planned) return;
    dealer_.deal(to_bytes(planned->batch));
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
  if (result.num_sweeps > 1) {
    spdlog::warn(
        "{}: too large for the memory there is, computed in {} sweeps; a smaller "
        "parallel.batch_tokens avoids it",
        text_of(found->second.batch),
        result.num_sweeps);
  }
  commit(found->second, result);
  handed_out_.erase(found);
}

void Schedule::commit(const PlannedBatch& planned, const BatchResult& result) {
  check(result.pieces.size() == planned.samples.size(), "a result with pieces missing");
  for (std::size_t i = 0; i < result.pieces.size(); ++i) {
    const Sample& sample = *planned.samples[i];
    const auto [entry, is_new] = part_.samples.try_emplace(sample.index);
    if (is_new) {
      entry->second = unmeasured(sample);
      part_bytes_ += bytes_in(entry->second);
    }
    add_result(result.pieces[i], entry->second);
    clear_before_target_units(sample, result.pieces[i], entry->second);
    tell_of_failure(sample, entry->second);
  }
  for (const auto& skipped : planned.skipped) {
    part_.samples.try_emplace(skipped->index, skipped->record);
    part_bytes_ += bytes_in(skipped->record);
  }
  part_.batch_ids.push_back(result.batch_id);
  part_.contents.emplace(result.batch_id, contents_of(planned));
  progress_.rows_done += planned.work.rows;
  count_as_done(planned);
}

void Schedule::tell_of_failure(const Sample& sample, const SampleRecord& record) {
  if (record.status != SampleStatus::Failed || !failed_samples_.insert(sample.index).second) return;
  options_.service.sample_failed(
      {.index = sample.index, .id = record.id, .message = record.message});
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

// Whether there are so many results that wait for the part before theirs that more must not come.
bool Schedule::waits_for_disk() {
  if (!is_sealing() || part_bytes_ <= options_.most_unsealed_bytes) return false;
  if (!std::exchange(has_told_of_slow_disk_, true)) {
    spdlog::warn(
        "{}: the disk is slower than the ranks: they wait until a part is on it; a longer "
        "checkpoint.interval_s makes fewer and larger parts",
        run_directory_.path().string());
  }
  return true;
}

// The part before must be on disk: what comes meanwhile makes this one larger.
void Schedule::seal_if_due() {
  const auto interval = std::chrono::duration<double>(options_.interval_s);
  if (!is_sealing() && Clock::now() - last_seal_ >= interval) begin_seal();
}

// Waits for the part before, so that there are never more than two in memory.
void Schedule::begin_seal() {
  end_seal();
  last_seal_ = Clock::now();
  if (part_.empty()) return;
  part_bytes_ = 0;
  std::ranges::sort(part_.batch_ids);
  sealing_ = std::async(std::launch::async, [this, part = std::exchange(part_, {})] {
    const auto start = Clock::now();
    const std::filesystem::path path = run_directory_.seal(part);
    return SealReport{
        .name = path.filename().string(),
        .num_batches = std::ssize(part.batch_ids),
        .num_samples = std::ssize(part.samples),
        .seconds = std::chrono::duration<double>(Clock::now() - start).count()};
  });
}

bool Schedule::is_sealing() const {
  return sealing_.valid() &&
         sealing_.wait_for(std::chrono::seconds(0)) != std::future_status::ready;
}

// Throws what sealing threw.
void Schedule::end_seal() {
  if (!sealing_.valid()) return;
  const SealReport part = sealing_.get();
  num_sealed_batches_ += part.num_batches;
  spdlog::debug("sealed a part of {} batches", part.num_batches);
  options_.service.sealed(part);
}

void Schedule::seal_everything() {
  begin_seal();
  end_seal();
}

}  // namespace limn
