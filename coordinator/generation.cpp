#include "coordinator/generation.h"

#include <algorithm>
#include <iterator>

#include <fmt/format.h>

#include "coordinator/letter_bytes.h"
#include "storage/error.h"

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
  bytes.value(result.num_passes);
  bytes.records(result.targets, [&](auto& target) {
    bytes.value(target.record_index);
    bytes.values(target.tokens);
  });
};

// The prompts [begin, end) of a batch.
GenerationBatch part_of(const GenerationBatch& batch, std::size_t begin, std::size_t end) {
  GenerationBatch part{.id = batch.id, .prompts = {}, .end_tokens = batch.end_tokens};
  const auto first = batch.prompts.begin();
  part.prompts.assign(
      first + static_cast<std::ptrdiff_t>(begin), first + static_cast<std::ptrdiff_t>(end));
  return part;
}

}  // namespace

bool can_be_halved(const GenerationBatch& batch) {
  return batch.prompts.size() > 1;
}

std::pair<GenerationBatch, GenerationBatch> halves_of(const GenerationBatch& batch) {
  check(can_be_halved(batch), "a batch that cannot be halved: {}", batch.id);
  const std::size_t middle = batch.prompts.size() / 2;
  return {part_of(batch, 0, middle), part_of(batch, middle, batch.prompts.size())};
}

GenerationResult joined(
    const GenerationBatch& whole, GenerationResult first, GenerationResult second) {
  GenerationResult result = std::move(first);
  result.num_passes += second.num_passes;
  std::ranges::move(second.targets, std::back_inserter(result.targets));
  check(result.targets.size() == whole.prompts.size(), "halves that do not make {}", whole.id);
  return result;
}

std::string text_of(const GenerationBatch& batch) {
  check(!batch.prompts.empty(), "a batch without prompts: {}", batch.id);
  return fmt::format(
      "batch {} of prompts, records {} to {}",
      batch.id,
      batch.prompts.front().record_index,
      batch.prompts.back().record_index);
}

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
