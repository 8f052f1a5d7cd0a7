#include "coordinator/generation.h"

#include "coordinator/letter_bytes.h"

namespace limn {

namespace {

constexpr auto kBatchFields = [](auto& bytes, auto& batch) {
  bytes.value(batch.id);
  bytes.records(batch.prompts, [&](auto& prompt) {
    bytes.value(prompt.record_index);
    bytes.values(prompt.tokens);
    bytes.value(prompt.max_new_tokens);
  });
  bytes.values(batch.end_tokens);
};

constexpr auto kResultFields = [](auto& bytes, auto& result) {
  bytes.value(result.batch_id);
  bytes.records(result.targets, [&](auto& target) {
    bytes.value(target.record_index);
    bytes.values(target.tokens);
  });
};

}  // namespace

std::vector<std::byte> to_bytes(const GenerationBatch& batch) {
  return bytes_of(batch, kBatchFields);
}

GenerationBatch generation_batch_from_bytes(std::span<const std::byte> bytes) {
  return record_of<GenerationBatch>(bytes, kBatchFields);
}

std::vector<std::byte> to_bytes(const GenerationResult& result) {
  return bytes_of(result, kResultFields);
}

GenerationResult generation_result_from_bytes(std::span<const std::byte> bytes) {
  return record_of<GenerationResult>(bytes, kResultFields);
}

}  // namespace limn
