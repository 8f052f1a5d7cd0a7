// What happens to rows between two matrix products, on a CPU, each in one pass. A norm or an
// activation f gives
//   out = f(x + base) - minus,
// a scaling
//   out = scale x + base - minus,
// and base and minus may be absent. Rows that are values need f(x) alone; rows that are differences
// from a base row need f(base + x) - f(base).
#pragma once

#include <cstdint>

namespace limn {

// Rows of float32 or bfloat16. Row r stands at row[r] * stride, at r * stride where `row` is null.
struct RowSource {
  const float* floats = nullptr;
  const std::uint16_t* bfloats = nullptr;
  std::int64_t stride = 0;
  const std::int64_t* row = nullptr;

  bool is_absent() const { return floats == nullptr && bfloats == nullptr; }
};

// Likewise, to be written. May be the memory of the source x.
struct RowSink {
  float* floats = nullptr;
  std::uint16_t* bfloats = nullptr;
  std::int64_t stride = 0;
};

struct RowTask {
  RowSource x;
  RowSource base;
  RowSource minus;
  RowSink out;
  std::int64_t width = 0;  // of a row of `out`
};

struct ScaleFunction {
  float scale = 1;
};

// As Norm, over the width. Null: a weight of 1, a bias of 0.
struct NormFunction {
  bool subtracts_mean = false;
  float epsilon = 0;
  const float* weight = nullptr;
  const float* bias = nullptr;
};

enum class ActivationKind { Silu, GeluTanh, Relu };

// f(v) = activation(v); gated: x and base are twice as wide as out, and f(v, w) = activation(v) w
// of the first and the second half.
struct ActivationFunction {
  ActivationKind kind = ActivationKind::Silu;
  bool gated = false;
};

// Heads of rows, rotated in place by the angle of the row's position: of each head the first
// 2 * num_pairs dimensions.
struct RotationTask {
  float* x = nullptr;
  std::int64_t row_stride = 0;
  std::int64_t num_heads = 0;  // successive
  std::int64_t head_dim = 0;
  const std::int64_t* table_row = nullptr;  // of each row
  const float* cos = nullptr;               // [table rows, num_pairs]
  const float* sin = nullptr;
  std::int64_t num_pairs = 0;
  bool pairs_neighbours = false;  // dimension 2i with 2i + 1; else i with i + num_pairs
};

}  // namespace limn
