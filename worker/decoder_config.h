// What a decoder computes, as data: a family of models is a way to fill this in.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace limn {

enum class NormKind {
  Rms,         // x / sqrt(mean(x^2) + epsilon) * weight
  RmsPlusOne,  // the same times (1 + weight)
  Layer,       // (x - mean) / sqrt(variance + epsilon) * weight + bias
};

enum class Activation { Silu, Gelu, GeluTanh, Relu };

// How a block adds what attention and MLP compute to the residual stream x.
enum class ResidualKind {
  Sequential,  // x += out1(attention(in1(x))); x += out2(mlp(in2(x)))
  Parallel,    // x += attention(in1(x)) + mlp(in2(x))
  PostNorm,    // x = in1(x + attention(x)); x = in2(x + mlp(x))
  Normed,      // y = in1(x), x = y + attention(y); y = in2(x), x = y + mlp(y)
};

// Normalisation of queries and keys, before they are rotated.
enum class HeadNormKind {
  None,
  SharedWeight,  // each head over head_dim, one weight for all heads
  OwnWeight,     // each head over head_dim, a weight for each head
  AllHeads,      // all heads together
};

enum class PositionKind { Rotary, Learned, Alibi };

enum class AlibiKind {
  Bloom,   // added to the scaled logit
  Falcon,  // scaled with it; slope, position and bias are rounded to bfloat16
};

enum class RotaryPairing {
  Halves,      // dimension i pairs with i + rotated / 2
  Neighbours,  // dimension 2i pairs with 2i + 1
};

enum class RopeScaling {
  None,
  Linear,    // all frequencies divided by `factor`
  Llama3,    // only the long wavelengths (Llama 3.1)
  Yarn,      // a blend over the dimensions (YaRN, Peng et al. 2023)
  LongRope,  // a factor of its own for every pair, by the length of the sequence (Ding et al. 2024)
};

// Rotary position embedding of the first `rotated` dimensions of each head.
struct RopeConfig {
  double theta = 10000;
  std::int64_t rotated = 0;
  RotaryPairing pairing = RotaryPairing::Halves;
  RopeScaling scaling = RopeScaling::None;
  double factor = 1;
  double original_max_positions = 0;
  double attention_factor = 1;  // multiplies cos and sin
  // Llama3
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  // Yarn
  double beta_fast = 32;
  double beta_slow = 1;
  bool truncate = true;
  // LongRope: [rotated / 2], for sequences up to original_max_positions and for longer ones
  std::vector<double> short_factors;
  std::vector<double> long_factors;
};

enum class MlpKind {
  Plain,  // down(activation(up(x)))
  Gated,  // down(activation(gate(x)) * up(x))
};

// A layer whose MLP is a choice of experts.
struct ExpertsConfig {
  std::int64_t num_experts = 0;
  std::int64_t num_chosen = 0;       // of them, for each row
  std::int64_t inner = 0;            // of each
  bool softmax_chosen_only = false;  // softmax over the chosen logits; else over all
  bool renormalize = true;           // so that the chosen weights sum to 1
  // gpt_oss: gate clamped from above, up on both sides, (up + 1) * gate * sigmoid(1.702 gate);
  // biases
  bool clamped_with_bias = false;
};

// What differs between the layers of one model.
struct LayerConfig {
  std::int64_t window = 0;     // keys that a row sees, itself included; 0: all before it
  std::size_t rope = 0;        // index into DecoderConfig::ropes
  double attention_scale = 1;  // of the products of queries and keys
  bool has_experts = false;
};

struct DecoderConfig {
  std::int64_t vocab_size = 0;
  std::int64_t hidden = 0;
  std::int64_t inner = 0;  // of the MLP
  std::int64_t num_heads = 0;
  std::int64_t num_kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t max_positions = 0;  // 0: no limit
  std::vector<LayerConfig> layers;

  // Embedding: norm(project(scale * table[token]) + positions[position + position_offset])
  std::int64_t embedding_width = 0;  // other than hidden: the table's width, with a projection
  double embedding_scale = 1;
  bool embedding_norm = false;
  PositionKind position = PositionKind::Rotary;
  std::int64_t position_offset = 0;  // Learned
  AlibiKind alibi = AlibiKind::Bloom;
  std::vector<RopeConfig> ropes;  // Rotary

  // Attention
  bool qkv_bias = false;
  bool attention_out_bias = false;
  HeadNormKind head_norm = HeadNormKind::None;
  double attention_softcap = 0;  // c: c tanh(s / c); 0: none
  bool attention_sinks = false;  // a learned logit per head joins every row's softmax

  // Block
  NormKind norm = NormKind::Rms;
  double norm_epsilon = 1e-6;
  ResidualKind residual = ResidualKind::Sequential;
  double residual_multiplier = 1;

  // MLP
  MlpKind mlp = MlpKind::Gated;
  Activation activation = Activation::Silu;
  bool mlp_bias = false;
  std::optional<ExpertsConfig> experts;

  // Head: softcap(scale * (norm(x) project) W^T + bias)
  bool final_norm = true;
  bool tied_head = false;  // the head is the embedding, where the checkpoint stores none
  double logit_scale = 1;
  double logit_softcap = 0;

  // Whether a norm's weight and bias are stored; where not, they are 1 and 0.
  bool norm_weights = true;
  bool norm_biases = false;       // NormKind::Layer
  bool head_norm_biases = false;  // of queries and keys, NormKind::Layer

  std::int64_t num_layers() const { return static_cast<std::int64_t>(layers.size()); }
};

}  // namespace limn
