#include "coordinator/generation.h"

#include "coordinator/letter_bytes.h"

namespace limn {

std::vector<std::byte> to_bytes(const GenerationBatch& batch) {
  ByteWriter writer;
  writer.put(batch.id);
  writer.put(batch.prompts.size());
  for (const GenerationPrompt& prompt : batch.prompts) {
    writer.put(prompt.record_index);
    writer.put(prompt.tokens);
    writer.put(prompt.max_new_tokens);
  }
  writer.put(batch.end_tokens);
  return writer.take();
}

GenerationBatch generation_batch_from_bytes(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  GenerationBatch batch;
  reader.get(batch.id);
  batch.prompts.resize(reader.get_count(sizeof(std::int64_t)));
  for (GenerationPrompt& prompt : batch.prompts) {
    reader.get(prompt.record_index);
    reader.get(prompt.tokens);
    reader.get(prompt.max_new_tokens);
  }
  reader.get(batch.end_tokens);
  reader.expect_end();
  return batch;
}

std::vector<std::byte> to_bytes(const GenerationResult& result) {
  ByteWriter writer;
  writer.put(result.batch_id);
  writer.put(result.targets.size());
  for (const GeneratedTarget& target : result.targets) {
    writer.put(target.record_index);
    writer.put(target.tokens);
  }
  return writer.take();
}

GenerationResult generation_result_from_bytes(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  GenerationResult result;
  reader.get(result.batch_id);
  result.targets.resize(reader.get_count(sizeof(std::int64_t)));
  for (GeneratedTarget& target : result.targets) {
    reader.get(target.record_index);
    reader.get(target.tokens);
  }
  reader.expect_end();
  return result;
}

}  // namespace limn
