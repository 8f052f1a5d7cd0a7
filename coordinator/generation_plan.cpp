#include "coordinator/generation_plan.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace limn {

namespace {

std::int64_t length_of(const GenerationPrompt& prompt) {
  return std::ssize(prompt.tokens) + prompt.max_new_tokens;
}

}  // namespace

GenerationPlan::GenerationPlan(
    const Job& job,
    const SamplePreparer& preparer,
    std::vector<std::int32_t> end_tokens,
    int num_threads)
    : samples_(job, preparer, TargetSource::Nowhere, num_threads),
      preparer_(preparer),
      end_tokens_(std::move(end_tokens)),
      batch_tokens_(job.parallel.batch_tokens) {}

std::optional<GenerationPrompt> GenerationPlan::next_prompt() {
  if (waiting_) return std::exchange(waiting_, std::nullopt);
  // A prompt has one sample, for its targets are not there.
  for (auto sample = samples_.next(); !sample.empty(); sample = samples_.next()) {
    if (sample[0].record.status == SampleStatus::Ok) return preparer_.generation_prompt(sample[0]);
  }
  return std::nullopt;
}

std::optional<GenerationBatch> GenerationPlan::next() {
  GenerationBatch batch{.id = next_id_, .prompts = {}, .end_tokens = end_tokens_};
  std::int64_t longest = 0;
  while (auto prompt = next_prompt()) {
    const std::int64_t longest_with = std::max(longest, length_of(*prompt));
    const bool fits = (std::ssize(batch.prompts) + 1) * longest_with <= batch_tokens_;
    if (!fits && !batch.prompts.empty()) {
      waiting_ = std::move(prompt);
      break;
    }
    longest = longest_with;
    batch.prompts.push_back(*std::move(prompt));
  }
  if (batch.prompts.empty()) return std::nullopt;
  ++next_id_;
  return batch;
}

}  // namespace limn
