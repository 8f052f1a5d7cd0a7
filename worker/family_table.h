// The families that limn knows, a page or less each. Private to the worker.
#pragma once

#include <span>
#include <string_view>

#include "worker/config_reader.h"
#include "worker/model_family.h"

namespace limn {

struct ModelFamily {
  std::string_view model_type;
  ModelConfig (*read)(const ConfigReader&);
};

// Those that descend from Llama: rotary positions, root mean square norms, gated MLPs, and their
// variations.
std::span<const ModelFamily> llama_families();

// GPT-2 and its kin: layer norms with biases, plain MLPs.
std::span<const ModelFamily> gpt_families();

// What several families have in common.

// "silu", "gelu_new" and so on. Throws DataError naming the key when the activation is not known.
Activation read_activation(
    const ConfigReader& config, std::string_view key, std::string_view absent);

// One flag for the biases of all projections of attention.
void read_attention_biases(const ConfigReader& config, DecoderConfig& decoder, bool absent);

// What a family's config says of rotary positions by leaving it out.
struct RopeDefaults {
  std::int64_t head_dim = 0;
  std::int64_t max_positions = 0;
  double theta = 10000;
  double fraction = 1;  // of head_dim that is rotated
  // Of the config's own original_max_position_embeddings; 0: that of the scaling, or max_positions.
  std::int64_t original_max_positions = 0;
  bool early_longrope_names = false;  // "su" and "yarn" mean longrope
};

// Rotary positions in both spellings: rope_parameters of transformers 5, rope_theta and
// rope_scaling before.
RopeConfig read_rope(const ConfigReader& config, const RopeDefaults& absent);

// The same of one group of layers ("full_attention"), where rope_parameters tells them apart.
RopeConfig read_rope_of(
    const ConfigReader& config, const ConfigReader& parameters, const RopeDefaults& absent);

// `count` layers that differ in nothing, with the usual scale 1 / sqrt(head_dim).
std::vector<LayerConfig> equal_layers(std::int64_t count, std::int64_t head_dim);

}  // namespace limn
