// Attention of a few rows on a CPU: what SuppressedAttention is made of.
#pragma once

#include <cstdint>

namespace limn {

// Keys and values of one key/value head at consecutive positions, as the kernel wants them. A
// panel holds AttentionKernels::panel successive positions; its first position is a multiple of
// that.
//   keys    [panels, head_dim, panel]: transposed, so that a row's logits are successive
//   values  [panels * panel, value_width]: head_dim, and zeros up to a multiple of the vector
struct KeyValuePanels {
  float* keys = nullptr;
  float* values = nullptr;
  std::int64_t first_panel = 0;
};

// The sparse factors of a segment, in ascending order of position.
struct FactorView {
  const std::int64_t* positions = nullptr;
  const float* factors = nullptr;
  std::int64_t count = 0;
};

enum class SuppressionRule { LogAdditive, Multiplicative, Shifted, ShiftedFull };

// Successive rows of one segment, and the query heads that share one key/value head.
struct AttentionTask {
  const float* queries = nullptr;  // of the first row's first head; a row's heads are successive
  std::int64_t query_stride = 0;   // floats from row to row
  float* output = nullptr;         // as queries
  std::int64_t output_stride = 0;
  std::int64_t first_position = 0;
  std::int64_t num_rows = 0;
  std::int64_t num_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t num_keys = 0;  // of the sample
  // Panels before own.first_panel are taken from `base`, the others from `own`.
  KeyValuePanels base;
  KeyValuePanels own;

  float scale = 1;
  float softcap = 0;                // 0: none
  std::int64_t window = 0;          // 0: none
  const float* key_bias = nullptr;  // of the first head; null: none
  std::int64_t key_bias_stride = 0;
  const float* sinks = nullptr;  // one for each head; null: none
  SuppressionRule rule = SuppressionRule::LogAdditive;
  FactorView factors;
};

// Successive positions of one key/value head, to be written into panels.
struct PackTask {
  const float* keys = nullptr;  // of the first position
  const float* values = nullptr;
  std::int64_t key_stride = 0;  // floats from position to position
  std::int64_t value_stride = 0;
  std::int64_t first_position = 0;
  std::int64_t num_positions = 0;
  std::int64_t head_dim = 0;
  KeyValuePanels panels;
};

}  // namespace limn
