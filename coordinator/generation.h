// What is asked of the model before it is explained: its own answers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace limn {

struct GenerationPrompt {
  std::int64_t record_index = 0;  // as GeneratedTargetLine
  std::vector<std::int32_t> tokens;
  std::int64_t max_new_tokens = 0;  // at least 1

  bool operator==(const GenerationPrompt&) const = default;
};

// Prompts that are continued together.
struct GenerationBatch {
  std::int64_t id = 0;  // counts the batches of the dataset from 0
  std::vector<GenerationPrompt> prompts;
  std::vector<std::int32_t> end_tokens;  // any of them ends an answer

  bool operator==(const GenerationBatch&) const = default;
};

struct GeneratedTarget {
  std::int64_t record_index = 0;
  std::vector<std::int32_t> tokens;  // without the end token, unless that is all there is

  bool operator==(const GeneratedTarget&) const = default;
};

struct GenerationResult {
  std::int64_t batch_id = 0;
  std::vector<GeneratedTarget> targets;  // as the prompts
  std::int32_t num_passes = 1;           // more: memory did not hold the batch as a whole

  bool operator==(const GenerationResult&) const = default;
};

// As of a Batch: of the prompts.
bool can_be_halved(const GenerationBatch& batch);
std::pair<GenerationBatch, GenerationBatch> halves_of(const GenerationBatch& batch);
GenerationResult joined(
    const GenerationBatch& whole, GenerationResult first, GenerationResult second);

// "batch 3 of prompts, records 12 to 15", records counted from 0
std::string text_of(const GenerationBatch& batch);

// As bytes, for letters between ranks of one run. The readers throw InternalError when the bytes
// are not what the writers wrote.
std::vector<std::byte> to_bytes(const GenerationBatch& batch);
std::vector<std::byte> to_bytes(const GenerationResult& result);
GenerationBatch generation_batch_from_bytes(std::span<const std::byte> bytes);
GenerationResult generation_result_from_bytes(std::span<const std::byte> bytes);

}  // namespace limn
