// Where the rows of a batch lie inside its sweep.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "coordinator/batch.h"
#include "coordinator/job.h"
#include "sharding/shard_layout.h"
#include "worker/key_factors.h"

namespace limn {

// The tensor on a device: on a GPU copied by way of page-locked memory, without waiting for it.
at::Tensor moved_to(at::Device device, const at::Tensor& tensor);

// [values] int64
at::Tensor index_tensor(const std::vector<std::int64_t>& values);

// Those of the slice.
at::Tensor rows_of(const at::Tensor& all, const Slice& slice);

// Which rows of each segment something is computed for.
enum class RowSet {
  All,      // all that the segment recomputes
  Targets,  // those at which a target's log-probability is read
};

// The rows of one (sample, perturbation), or of a sample's base: consecutive positions, and
// consecutive rows of the packed matrices. Its keys are those of its rows, after those of rows that
// it shares with a segment of its stem, in the same block.
struct Segment {
  std::size_t sample = 0;                // the piece of the batch
  std::int64_t key_begin = 0;            // first position: the first suppressed key's; 0 for a base
  std::int64_t row_begin = 0;            // key_begin, or where the shared rows end
  std::int64_t row_end = 0;              // the sample's fed length
  std::int64_t packed_begin = 0;         // row_begin's row among all packed rows
  std::int64_t key_packed_begin = 0;     // key_begin's among all keys
  std::int64_t target_row_begin = 0;     // first position that is a target row of this segment
  std::int64_t target_packed_begin = 0;  // its row among all target rows
  KeyFactors factors;                    // empty for a base

  std::int64_t num_rows() const { return row_end - row_begin; }

  std::int64_t num_keys() const { return row_end - key_begin; }

  std::int64_t num_target_rows() const { return row_end - target_row_begin; }
};

// Successive segments that go through a layer together, and where their rows lie.
struct RowBlock {
  std::size_t segment_begin = 0;  // in SweepLayout::segments
  std::size_t segment_end = 0;
  Slice rows;         // of all packed rows
  Slice keys;         // of all keys
  Slice target_rows;  // of all target rows
  bool is_base = false;

  // Whether keys are those of the rows, one for one.
  bool shares_rows() const { return keys.size() != rows.size(); }
};

// Packed order: the base rows of all samples, then the perturbed segments, sample by sample, those
// that share rows behind the one that they share them with.
struct SweepLayout {
  // The base of piece i is segments[i].
  std::vector<Segment> segments;
  std::size_t num_samples = 0;
  std::vector<std::optional<std::size_t>> stem_of;  // BatchPiece::stem of each piece
  // For each piece and each of its perturbations the segment; nothing when it touches no key.
  // Perturbations with equal factors share one.
  std::vector<std::vector<std::optional<std::size_t>>> segment_of;
  // All segments, in packed order. The first block is that of all bases.
  std::vector<RowBlock> blocks;
  std::int64_t num_base_rows = 0;
  std::int64_t num_rows = 0;
  std::int64_t num_target_rows = 0;

  at::Tensor positions;    // [rows] int64, the position of each packed row
  at::Tensor fed_lengths;  // [rows] int64, the fed length of its sample
  at::Tensor base_row;     // [rows] int64, the packed base row with the same prompt and position
  at::Tensor key_row;      // [keys] int64, the packed row of each key
  at::Tensor fed_token;    // [base_rows] int64, the token of each, among all pieces' fed tokens
  at::Tensor target_row;   // [target_rows] int64, the packed row of each target row
  at::Tensor target_ids;   // [target_rows] int64
  // [target_rows] int64, the base's target row with the same sample and position
  at::Tensor base_target_row;

  // The packed base row of a sample, or of its stem.
  std::int64_t base_row_at(std::size_t sample, std::int64_t position) const;

  // Moves the index tensors, without waiting for it.
  void move_to(at::Device device);
};

// The rows of a block that a window (0: none) leaves no key but hidden ones to see, by their index
// among the block's rows that are in `rows`: [hidden rows] int64. There attention has output 0.
at::Tensor hidden_rows(
    const SweepLayout& layout,
    const RowBlock& block,
    RowSet rows,
    std::int64_t window,
    SuppressionKind suppression);

// The rows of a block, by index, those of the same base row together: [rows] int32.
at::Tensor rows_by_base(const SweepLayout& layout, const RowBlock& block, RowSet rows);

// Requires: factors[i][k] are those of perturbation k of piece i. A block of perturbed segments
// ends with the segment that fills it to `block_rows` rows, or with the last one that shares rows
// with it. Throws InternalError when a piece's stem does not have its prompt.
SweepLayout lay_out_sweep(
    const Batch& batch,
    const std::vector<std::vector<KeyFactors>>& factors,
    std::int64_t block_rows);

}  // namespace limn
