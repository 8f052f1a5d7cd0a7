// What a decoder computes, as data.
#pragma once

#include <cstdint>

namespace limn {

enum class RopeScaling {
  None,
  Linear,  // all frequencies divided by `factor`
  Llama3,  // only the long wavelengths (Llama 3.1)
  Yarn,    // a blend over the dimensions (YaRN, Peng et al. 2023)
};

// Rotary position embedding over all of head_dim; dimension i pairs with i + head_dim / 2.
struct RopeConfig {
  double theta = 10000;
  RopeScaling scaling = RopeScaling::None;
  double factor = 1;
  double original_max_positions = 0;
  // Llama3
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  // Yarn
  double beta_fast = 32;
  double beta_slow = 1;
  bool truncate = true;
  double attention_factor = 1;  // multiplies cos and sin
};

struct DecoderConfig {
  std::int64_t vocab_size = 0;
  std::int64_t hidden = 0;
  std::int64_t inner = 0;  // of the MLP
  std::int64_t num_layers = 0;
  std::int64_t num_heads = 0;
  std::int64_t num_kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t max_positions = 0;
  double norm_epsilon = 1e-6;
  RopeConfig rope;
  bool attention_bias = false;  // on query, key, value and output
  bool mlp_bias = false;        // on gate, up and down
  bool tied_head = false;       // the head is the embedding, where the checkpoint stores none
};

}  // namespace limn
