// How far a run is.
#pragma once

#include <cstdint>

namespace limn {

// Totals are those of the whole run; rows and time count from this start, so that a resume does not
// spoil an estimate.
struct Progress {
  std::int64_t samples_done = 0;
  std::int64_t samples_total = 0;
  std::int64_t batches_done = 0;
  std::int64_t batches_total = 0;  // 0: not known
  std::int64_t rows_done = 0;      // by this start
  std::int64_t rows_total = 0;     // that this start has to do
  double elapsed_s = 0;            // since this start
};

}  // namespace limn
