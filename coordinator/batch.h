// Batches: what is scheduled, computed in one sweep, and committed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace limn {

// The tokens whose keys get the job's factor. Correlated suppression may add further keys; the
// worker finds them, for it has the embeddings.
struct Perturbation {
  std::vector<std::int32_t> positions;  // in the sample's tokens, ascending, unique

  bool operator==(const Perturbation&) const = default;
};

// Some perturbations of one sample, with all that a worker needs of the sample.
struct BatchPiece {
  std::int64_t sample_index = 0;  // in the dataset
  std::string sample_id;          // for a person
  std::vector<std::int32_t>
      tokens;  // prompt, then target without its last token: what the model is fed
  std::vector<std::int32_t> target_ids;
  std::int64_t prompt_length = 0;       // target k is read at row prompt_length - 1 + k
  std::int64_t perturbation_begin = 0;  // these are the sample's perturbations from here on
  std::vector<Perturbation> perturbations;
  // An earlier piece of the batch with the same prompt and another target, if there is one, which
  // itself has no stem: rows of the prompt that are equal in both are computed once, with it.
  std::optional<std::size_t> stem;

  std::int64_t fed_length() const { return static_cast<std::int64_t>(tokens.size()); }

  std::int64_t num_targets() const { return static_cast<std::int64_t>(target_ids.size()); }

  std::int64_t first_target_row() const { return prompt_length - 1; }

  bool operator==(const BatchPiece&) const = default;
};

struct Batch {
  std::int64_t id = 0;  // counts the batches of the run's plan from 0
  std::vector<BatchPiece> pieces;

  bool operator==(const Batch&) const = default;
};

// What a sweep measured of one piece.
struct PieceResult {
  std::int64_t sample_index = 0;
  std::int64_t perturbation_begin = 0;
  std::vector<float> base_log_prob;  // [targets]
  std::vector<float> delta;          // [perturbations, targets], row-major

  bool operator==(const PieceResult&) const = default;
};

struct BatchResult {
  std::int64_t batch_id = 0;
  std::vector<PieceResult> pieces;
  std::int32_t num_sweeps = 1;  // more: memory did not hold the batch as a whole

  bool operator==(const BatchResult&) const = default;
};

// Whether there is more than one perturbation.
bool can_be_halved(const Batch& batch);

// The first and the second half of its perturbations, in their order, as batches of the same id.
// Requires: can_be_halved().
std::pair<Batch, Batch> halves_of(const Batch& batch);

// The result of the whole batch from those of its halves_of().
BatchResult joined(const Batch& whole, BatchResult first, BatchResult second);

// "batch 17, samples a, b, c and 5 more"
std::string text_of(const Batch& batch);

// Batches and results as bytes, for letters between ranks of one run (and of one architecture).
// The readers throw InternalError when the bytes are not what the writers wrote.
std::vector<std::byte> to_bytes(const Batch& batch);
std::vector<std::byte> to_bytes(const BatchResult& result);
Batch batch_from_bytes(std::span<const std::byte> bytes);
BatchResult result_from_bytes(std::span<const std::byte> bytes);

}  // namespace limn
