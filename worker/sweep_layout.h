// Where the rows of a batch lie inside its sweep.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "coordinator/batch.h"
#include "worker/key_factors.h"

namespace limn {

// Which rows of each segment something is computed for.
enum class RowSet {
  All,      // all that the segment recomputes
  Targets,  // those at which a target's log-probability is read
};

// The rows of one (sample, perturbation), or of a sample's base: consecutive positions, and
// consecutive rows of the packed matrices.
struct Segment {
  std::int64_t row_begin = 0;            // first position: the first suppressed key's; 0 for a base
  std::int64_t row_end = 0;              // the sample's fed length
  std::int64_t packed_begin = 0;         // row_begin's row among all packed rows
  std::int64_t target_row_begin = 0;     // first position that is a target row of this segment
  std::int64_t target_packed_begin = 0;  // its row among all target rows
  KeyFactors factors;                    // empty for a base

  std::int64_t num_rows() const { return row_end - row_begin; }

  std::int64_t num_target_rows() const { return row_end - target_row_begin; }
};

// The segments of one sample. The perturbed ones are in descending order of row_begin, so that each
// one's keys and values overwrite a superset of the last one's in a work buffer, and the base's
// before them stay intact.
struct SampleSegments {
  Segment base;
  std::vector<Segment> perturbed;
  // For each perturbation of the batch's piece its segment in `perturbed`; nothing when it touches
  // no key. Perturbations with equal factors share one.
  std::vector<std::optional<std::size_t>> segment_of;
};

// Packed order: the base rows of all samples, then the perturbed segments, sample by sample.
struct SweepLayout {
  std::vector<SampleSegments> samples;  // one for each piece of the batch
  std::int64_t num_base_rows = 0;
  std::int64_t num_rows = 0;
  std::int64_t num_target_rows = 0;

  at::Tensor positions;    // [rows] int64, the position of each packed row
  at::Tensor fed_lengths;  // [rows] int64, the fed length of its sample
  at::Tensor base_row;     // [rows] int64, the packed base row with the same sample and position
  at::Tensor target_row;   // [target_rows] int64, the packed row of each target row
  at::Tensor target_ids;   // [target_rows] int64
};

// Requires: factors[i][k] are those of perturbation k of piece i.
SweepLayout lay_out_sweep(const Batch& batch, const std::vector<std::vector<KeyFactors>>& factors);

}  // namespace limn
