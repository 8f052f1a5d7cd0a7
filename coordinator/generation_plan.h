// Which prompts the model continues together.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "coordinator/generation.h"
#include "coordinator/job.h"
#include "coordinator/sample.h"
#include "coordinator/sample_stream.h"

namespace limn {

// Walks the dataset once and packs successive prompts into batches. A batch has at most
// `parallel.batch_tokens` tokens, each prompt counted as long as the longest of them with its
// answer, for so much room have its keys and values; one prompt alone may have more.
//
// Deterministic: the batches depend on dataset, job and tokenizer alone, so an answer does not
// depend on what was answered before a run was killed. Borrows: the preparer. Threads: one
// thread at a time.
class GenerationPlan {
 public:
  // On `num_threads` threads besides.
  GenerationPlan(
      const Job& job,
      const SamplePreparer& preparer,
      std::vector<std::int32_t> end_tokens,
      int num_threads = 1);

  // All batches in the order of their ids, then nothing. Skipped samples are in none. Throws as
  // SampleStream::next().
  std::optional<GenerationBatch> next();

  // The tokens as text.
  std::string text_of(const GeneratedTarget& target) const {
    return preparer_.text_of(target.tokens);
  }

 private:
  std::optional<GenerationPrompt> next_prompt();

  SampleStream samples_;
  const SamplePreparer& preparer_;
  std::vector<std::int32_t> end_tokens_;
  std::int64_t batch_tokens_;
  std::int64_t next_id_ = 0;
  std::optional<GenerationPrompt> waiting_;  // that did not fit into the batch before
};

}  // namespace limn
