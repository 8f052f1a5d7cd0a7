// What a sweep costs, as far as it can be told without running it.
#pragma once

#include <cstdint>

namespace limn {

// Rows of sweeps, and the keys that they see, summed over the rows. Integers, so that sums do not
// depend on their order.
struct SweepWork {
  std::int64_t rows = 0;
  std::int64_t keys = 0;

  SweepWork& operator+=(const SweepWork& more) {
    rows += more.rows;
    keys += more.keys;
    return *this;
  }

  SweepWork& operator-=(const SweepWork& less) {
    rows -= less.rows;
    keys -= less.keys;
    return *this;
  }

  friend SweepWork operator+(SweepWork left, const SweepWork& right) { return left += right; }

  bool operator==(const SweepWork&) const = default;
};

// The rows at positions [row_begin, row_end) of a sequence: each sees the keys up to its own.
// Requires: 0 <= row_begin <= row_end.
constexpr SweepWork work_of_rows(std::int64_t row_begin, std::int64_t row_end) {
  return {row_end - row_begin, (row_end * (row_end + 1) - row_begin * (row_begin + 1)) / 2};
}

// What a model makes of work: floating-point operations, summed over its layers.
struct SweepCost {
  double per_row = 1;  // the linear layers'; greater than 0
  double per_key = 0;  // attention's, of one row to one key
  // Whether a row of the model is the same whatever follows it, so that alternative targets can
  // share the rows of their prompt.
  bool is_causal = true;

  double of(const SweepWork& work) const {
    return per_row * static_cast<double>(work.rows) + per_key * static_cast<double>(work.keys);
  }
};

}  // namespace limn
