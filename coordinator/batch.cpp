#include "coordinator/batch.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <string_view>

#include <fmt/ranges.h>

#include "coordinator/letter_bytes.h"
#include "storage/error.h"

namespace limn {

namespace {

constexpr auto kBatchFields = [](auto& bytes, auto& batch) {
  bytes.value(batch.id);
  bytes.records(batch.pieces, [&](auto& piece) {
    bytes.value(piece.sample_index);
    bytes.text(piece.sample_id);
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
  bytes.value(result.num_sweeps);
  bytes.records(result.pieces, [&](auto& piece) {
    bytes.value(piece.sample_index);
    bytes.value(piece.perturbation_begin);
    bytes.values(piece.base_log_prob);
    bytes.values(piece.delta);
  });
};

// What a piece counts when a batch is halved: its base is work, too.
std::size_t weight_of(const BatchPiece& piece) {
  return std::max<std::size_t>(1, piece.perturbations.size());
}

std::size_t weight_of(const Batch& batch) {
  std::size_t weight = 0;
  for (const BatchPiece& piece : batch.pieces)
    weight += weight_of(piece);
  return weight;
}

// The perturbations [begin, end) of a piece, as a piece without a stem.
BatchPiece part_of(const BatchPiece& piece, std::size_t begin, std::size_t end) {
  BatchPiece part = piece;
  part.perturbation_begin += static_cast<std::int64_t>(begin);
  const auto first = piece.perturbations.begin();
  part.perturbations.assign(
      first + static_cast<std::ptrdiff_t>(begin), first + static_cast<std::ptrdiff_t>(end));
  part.stem.reset();
  return part;
}

// A half that is growing.
struct Half {
  Batch batch;
  // By the stem's index in the whole batch, or that of a piece without one: the first piece here of
  // those that share its rows.
  std::map<std::size_t, std::size_t> stems;

  void add(BatchPiece piece, std::size_t stem_in_whole) {
    const auto [stem, is_first] = stems.try_emplace(stem_in_whole, batch.pieces.size());
    if (!is_first) piece.stem = stem->second;
    batch.pieces.push_back(std::move(piece));
  }
};

}  // namespace

bool can_be_halved(const Batch& batch) {
  return weight_of(batch) > 1;
}

std::pair<Batch, Batch> halves_of(const Batch& batch) {
  std::size_t left = weight_of(batch) / 2;
  check(left > 0, "a batch that cannot be halved: {}", batch.id);
  Half first{.batch = {.id = batch.id, .pieces = {}}, .stems = {}};
  Half second = first;
  for (std::size_t i = 0; i < batch.pieces.size(); ++i) {
    const BatchPiece& piece = batch.pieces[i];
    const std::size_t stem = piece.stem.value_or(i);
    const std::size_t end = piece.perturbations.size();
    const std::size_t in_first = std::min(left, weight_of(piece));
    left -= in_first;
    if (in_first > 0) first.add(part_of(piece, 0, std::min(in_first, end)), stem);
    if (in_first < weight_of(piece)) second.add(part_of(piece, in_first, end), stem);
  }
  return {std::move(first.batch), std::move(second.batch)};
}

BatchResult joined(const Batch& whole, BatchResult first, BatchResult second) {
  BatchResult result = std::move(first);
  result.num_sweeps += second.num_sweeps;
  auto rest = second.pieces.begin();
  // A piece may have been cut in two.
  if (result.pieces.size() + second.pieces.size() > whole.pieces.size()) {
    std::vector<float>& delta = result.pieces.back().delta;
    delta.insert(delta.end(), rest->delta.begin(), rest->delta.end());
    ++rest;
  }
  result.pieces.insert(
      result.pieces.end(), std::move_iterator(rest), std::move_iterator(second.pieces.end()));
  check(result.pieces.size() == whole.pieces.size(), "halves that do not make batch {}", whole.id);
  return result;
}

std::string text_of(const Batch& batch) {
  constexpr std::size_t kNamed = 3;
  std::vector<std::string_view> ids;
  for (const BatchPiece& piece : batch.pieces)
    ids.push_back(piece.sample_id);
  const std::size_t more = ids.size() - std::min(ids.size(), kNamed);
  ids.resize(ids.size() - more);
  return fmt::format(
      "batch {}, {} {}{}",
      batch.id,
      batch.pieces.size() == 1 ? "sample" : "samples",
      fmt::join(ids, ", "),
      more > 0 ? fmt::format(" and {} more", more) : "");
}

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
