#include "coordinator/batch.h"

#include "coordinator/letter_bytes.h"

namespace limn {

namespace {

constexpr auto kBatchFields = [](auto& bytes, auto& batch) {
  bytes.value(batch.id);
  bytes.records(batch.pieces, [&](auto& piece) {
    bytes.value(piece.sample_index);
    bytes.values(piece.tokens);
    bytes.values(piece.target_ids);
    bytes.value(piece.prompt_length);
    bytes.value(piece.perturbation_begin);
    bytes.records(
        piece.perturbations, [&](auto& perturbation) { bytes.values(perturbation.positions); });
    bytes.optional(piece.stem);
  });
};

constexpr auto kResultFields = [](auto& bytes, auto& result) {
  bytes.value(result.batch_id);
  bytes.records(result.pieces, [&](auto& piece) {
    bytes.value(piece.sample_index);
    bytes.value(piece.perturbation_begin);
    bytes.values(piece.base_log_prob);
    bytes.values(piece.delta);
  });
};

}  // namespace

std::vector<std::byte> to_bytes(const Batch& batch) {
  return bytes_of(batch, kBatchFields);
}

Batch batch_from_bytes(std::span<const std::byte> bytes) {
  return record_of<Batch>(bytes, kBatchFields);
}

std::vector<std::byte> to_bytes(const BatchResult& result) {
  return bytes_of(result, kResultFields);
}

BatchResult result_from_bytes(std::span<const std::byte> bytes) {
  return record_of<BatchResult>(bytes, kResultFields);
}

}  // namespace limn
