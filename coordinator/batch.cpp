#include "coordinator/batch.h"

#include <limits>

#include "coordinator/letter_bytes.h"

namespace limn {

namespace {

constexpr auto kNoStem = std::numeric_limits<std::size_t>::max();

}  // namespace

std::vector<std::byte> to_bytes(const Batch& batch) {
  ByteWriter writer;
  writer.put(batch.id);
  writer.put(batch.pieces.size());
  for (const BatchPiece& piece : batch.pieces) {
    writer.put(piece.sample_index);
    writer.put(piece.tokens);
    writer.put(piece.target_ids);
    writer.put(piece.prompt_length);
    writer.put(piece.perturbation_begin);
    writer.put(piece.perturbations.size());
    for (const Perturbation& perturbation : piece.perturbations)
      writer.put(perturbation.positions);
    writer.put(piece.stem.value_or(kNoStem));
  }
  return writer.take();
}

Batch batch_from_bytes(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  Batch batch;
  reader.get(batch.id);
  batch.pieces.resize(reader.get_count(sizeof(std::int64_t)));
  for (BatchPiece& piece : batch.pieces) {
    reader.get(piece.sample_index);
    reader.get(piece.tokens);
    reader.get(piece.target_ids);
    reader.get(piece.prompt_length);
    reader.get(piece.perturbation_begin);
    piece.perturbations.resize(reader.get_count(sizeof(std::size_t)));
    for (Perturbation& perturbation : piece.perturbations)
      reader.get(perturbation.positions);
    std::size_t stem = kNoStem;
    reader.get(stem);
    if (stem != kNoStem) piece.stem = stem;
  }
  reader.expect_end();
  return batch;
}

std::vector<std::byte> to_bytes(const BatchResult& result) {
  ByteWriter writer;
  writer.put(result.batch_id);
  writer.put(result.pieces.size());
  for (const PieceResult& piece : result.pieces) {
    writer.put(piece.sample_index);
    writer.put(piece.perturbation_begin);
    writer.put(piece.base_log_prob);
    writer.put(piece.delta);
  }
  return writer.take();
}

BatchResult result_from_bytes(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  BatchResult result;
  reader.get(result.batch_id);
  result.pieces.resize(reader.get_count(sizeof(std::int64_t)));
  for (PieceResult& piece : result.pieces) {
    reader.get(piece.sample_index);
    reader.get(piece.perturbation_begin);
    reader.get(piece.base_log_prob);
    reader.get(piece.delta);
  }
  reader.expect_end();
  return result;
}

}  // namespace limn
