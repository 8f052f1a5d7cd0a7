#include "coordinator/target_generation.h"

#include <utility>
#include <vector>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "storage/error.h"

namespace limn {

namespace {

// Batches handed out or waiting to be written, of each group: a slow one must not let all others'
// answers pile up.
constexpr std::int64_t kMostOpen = 8;

}  // namespace

TargetGeneration::TargetGeneration(
    const Mailbox& mailbox, GenerationPlan& plan, TargetGenerationOptions options)
    : dealer_(mailbox, options.service.leaders),
      plan_(plan),
      options_(std::move(options)),
      reporter_(options_.service.report) {
  progress_.samples_total = options_.num_samples;
}

RunOutcome TargetGeneration::run() {
  try {
    return serve();
  } catch (...) {
    has_left_in_order_ = dealer_.dismiss_soon();
    throw;
  }
}

RunOutcome TargetGeneration::serve() {
  pass_over_finished();
  while ((takes_more_ && next_) || !handed_out_.empty()) {
    const StopRequest request =
        dealer_.is_abandoned() ? StopRequest::Now : options_.service.stop_request();
    if (request == StopRequest::Now) return RunOutcome::Stopped;
    if (request == StopRequest::FinishPart) takes_more_ = false;
    if (takes_more_) hand_out();
    dealer_.receive([this](auto bytes) { take(generation_result_from_bytes(bytes)); });
    dealer_.expect_results(options_.service.timeout_s);
    write_in_order();
    reporter_.report_if_due(progress_);
  }
  reporter_.report(progress_);
  dealer_.dismiss();
  return next_ ? RunOutcome::Stopped : RunOutcome::Done;
}

void TargetGeneration::pass_over_finished() {
  GeneratedTargetsReader file(options_.path);
  std::int64_t end = 0;
  for (next_ = plan_.next(); next_ && is_finished(*next_, file); next_ = plan_.next()) {
    end = file.offset();
    progress_.samples_done += std::ssize(next_->prompts);
    ++progress_.batches_done;
  }
  if (!next_) return;
  if (options_.targets_are_explained) {
    throw DataError(fmt::format(
        "{}: targets are missing that are explained already; put the file back as limn wrote it, "
        "or remove the folder to start again",
        options_.path.string()));
  }
  next_to_write_ = next_->id;
  if (options_.check_before_write) options_.check_before_write();
  writer_.emplace(options_.path, end);
}

// Whether the file goes on with the batch's answers, all of them.
bool TargetGeneration::is_finished(
    const GenerationBatch& batch, GeneratedTargetsReader& file) const {
  for (const GenerationPrompt& prompt : batch.prompts) {
    const auto line = file.next();
    if (!line) return false;
    if (line->record_index == prompt.record_index) continue;
    throw DataError(fmt::format(
        "{}: expected a target of record {}, found one of {}; put the file back as limn wrote it, "
        "or remove the folder to start again",
        options_.path.string(),
        prompt.record_index,
        line->record_index));
  }
  return true;
}

void TargetGeneration::hand_out() {
  const auto most_open = kMostOpen * std::ssize(options_.service.leaders);
  while (next_ && dealer_.has_taker() && next_->id - next_to_write_ < most_open) {
    takes_more_ = options_.service.has_time_for(dealer_.seconds_to_finish_next());
    if (!takes_more_) return;
    dealer_.deal(to_bytes(*next_));
    const std::int64_t id = next_->id;
    handed_out_.emplace(id, *std::exchange(next_, std::nullopt));
    next_ = plan_.next();
  }
}

void TargetGeneration::take(const GenerationResult& result) {
  const auto found = handed_out_.find(result.batch_id);
  check(found != handed_out_.end(), "a result of batch {}, which nobody has", result.batch_id);
  const std::vector<GenerationPrompt>& prompts = found->second.prompts;
  check(result.targets.size() == prompts.size(), "a result with answers missing");
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    check(
        result.targets[i].record_index == prompts[i].record_index &&
            !result.targets[i].tokens.empty(),
        "an answer that does not fit record {}",
        prompts[i].record_index);
  }
  if (result.num_passes > 1) {
    spdlog::warn(
        "{}: too large for the memory there is, computed in {} passes",
        text_of(found->second),
        result.num_passes);
  }
  handed_out_.erase(found);
  answered_.emplace(result.batch_id, result);
}

void TargetGeneration::write_in_order() {
  while (!answered_.empty() && answered_.begin()->first == next_to_write_) {
    const GenerationResult result = std::move(answered_.extract(answered_.begin()).mapped());
    std::vector<GeneratedTargetLine> lines;
    for (const GeneratedTarget& target : result.targets)
      lines.push_back({target.record_index, target.tokens, plan_.text_of(target)});
    if (options_.check_before_write) options_.check_before_write();
    writer_->append(lines);
    ++next_to_write_;
    ++num_durable_batches_;
    ++progress_.batches_done;
    progress_.samples_done += std::ssize(lines);
    for (const GeneratedTargetLine& line : lines)
      progress_.rows_done += std::ssize(line.target_ids);
  }
}

}  // namespace limn
