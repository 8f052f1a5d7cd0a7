#include "worker/model_family.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "storage/error.h"
#include "storage/json_file.h"
#include "worker/config_reader.h"

namespace limn {

namespace {

struct ModelFamily {
  std::string_view model_type;
  DecoderConfig (*read_config)(const ConfigReader&);
  TensorNames names;
};

double yarn_magnitude(double factor, double mscale) {
  return factor <= 1 ? 1 : 0.1 * mscale * std::log(factor) + 1;
}

double yarn_attention_factor(const ConfigReader& scaling, double factor) {
  if (scaling.has("attention_factor")) return scaling.positive("attention_factor");
  if (scaling.has("mscale") && scaling.has("mscale_all_dim")) {
    return yarn_magnitude(factor, scaling.positive("mscale")) /
           yarn_magnitude(factor, scaling.positive("mscale_all_dim"));
  }
  return yarn_magnitude(factor, 1);
}

RopeScaling rope_scaling_of(const ConfigReader& scaling) {
  const char* const key = scaling.has("rope_type") ? "rope_type" : "type";
  const std::string type = scaling.text_or(key, "default");
  if (type == "default") return RopeScaling::None;
  if (type == "linear") return RopeScaling::Linear;
  if (type == "llama3") return RopeScaling::Llama3;
  if (type == "yarn") return RopeScaling::Yarn;
  scaling.refuse(key, "is not supported, expected default, linear, llama3 or yarn: " + type);
}

void read_rope_scaling(
    const ConfigReader& config,
    const ConfigReader& scaling,
    std::int64_t max_positions,
    RopeConfig& rope) {
  rope.scaling = rope_scaling_of(scaling);
  if (rope.scaling == RopeScaling::None) return;
  rope.factor = scaling.positive("factor");
  // A top-level key takes precedence over the dictionary's.
  rope.original_max_positions = static_cast<double>(config.size_or(
      "original_max_position_embeddings",
      scaling.size_or("original_max_position_embeddings", max_positions)));
  if (rope.scaling == RopeScaling::Llama3) {
    rope.low_freq_factor = scaling.positive("low_freq_factor");
    rope.high_freq_factor = scaling.positive("high_freq_factor");
  }
  if (rope.scaling == RopeScaling::Yarn) {
    rope.beta_fast = scaling.positive_or("beta_fast", 32);
    rope.beta_slow = scaling.positive_or("beta_slow", 1);
    rope.truncate = scaling.flag_or("truncate", true);
    rope.attention_factor = yarn_attention_factor(scaling, rope.factor);
  }
}

// transformers 5 writes rope_parameters; nearly every checkpoint on the hub has rope_theta and
// rope_scaling. Where they are mixed this goes as transformers does.
RopeConfig read_rope(const ConfigReader& config, std::int64_t max_positions) {
  RopeConfig rope;
  rope.theta = config.positive_or("rope_theta", rope.theta);
  const auto scaling = config.object("rope_scaling");
  const auto parameters = scaling ? scaling : config.object("rope_parameters");
  if (parameters) {
    rope.theta = parameters->positive_or("rope_theta", rope.theta);
    read_rope_scaling(config, *parameters, max_positions, rope);
  }
  return rope;
}

DecoderConfig read_llama(const ConfigReader& config) {
  const std::string activation = config.text_or("hidden_act", "silu");
  if (activation != "silu" && activation != "swish") {
    config.refuse("hidden_act", "is not supported, expected silu: " + activation);
  }
  DecoderConfig decoder;
  decoder.vocab_size = config.size("vocab_size");
  decoder.hidden = config.size("hidden_size");
  decoder.inner = config.size("intermediate_size");
  decoder.num_layers = config.size("num_hidden_layers");
  decoder.num_heads = config.size("num_attention_heads");
  decoder.num_kv_heads = config.size_or("num_key_value_heads", decoder.num_heads);
  if (decoder.num_heads % decoder.num_kv_heads != 0) {
    config.refuse("num_key_value_heads", "must divide num_attention_heads");
  }
  decoder.head_dim = config.size_or("head_dim", decoder.hidden / decoder.num_heads);
  if (decoder.head_dim < 2 || decoder.head_dim % 2 != 0) {
    config.refuse("head_dim", "must be even, for rotary positions pair dimensions");
  }
  decoder.max_positions = config.size_or("max_position_embeddings", 2048);
  decoder.norm_epsilon = config.positive_or("rms_norm_eps", 1e-6);
  decoder.rope = read_rope(config, decoder.max_positions);
  decoder.attention_bias = config.flag_or("attention_bias", false);
  decoder.mlp_bias = config.flag_or("mlp_bias", false);
  decoder.tied_head = config.flag_or("tie_word_embeddings", false);
  return decoder;
}

constexpr TensorNames kLlamaNames{
    .embedding = "model.embed_tokens",
    .layer_prefix = "model.layers.{}.",
    .attention_norm = "input_layernorm",
    .query = "self_attn.q_proj",
    .key = "self_attn.k_proj",
    .value = "self_attn.v_proj",
    .attention_out = "self_attn.o_proj",
    .mlp_norm = "post_attention_layernorm",
    .gate = "mlp.gate_proj",
    .up = "mlp.up_proj",
    .down = "mlp.down_proj",
    .final_norm = "model.norm",
    .head = "lm_head",
};

constexpr std::array kFamilies{
    ModelFamily{"llama", read_llama, kLlamaNames},
};

// Options that change what any model computes and that no family has yet.
void refuse_unknown_options(const ConfigReader& config) {
  for (const std::string_view key :
       {"quantization_config", "sliding_window", "attn_logit_softcapping"}) {
    if (config.has(key)) config.refuse(key, "is not supported by this version of limn");
  }
}

}  // namespace

ModelConfig load_model_config(const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / "config.json";
  const nlohmann::json json = read_json(file);
  if (!json.is_object()) throw DataError(fmt::format("{}: expected an object", file.string()));
  const ConfigReader config(json, file.string());

  const std::string model_type = config.text_or("model_type", "");
  const auto* const family = std::ranges::find(kFamilies, model_type, &ModelFamily::model_type);
  if (family == kFamilies.end()) {
    std::vector<std::string_view> known;
    std::ranges::transform(kFamilies, std::back_inserter(known), &ModelFamily::model_type);
    config.refuse(
        "model_type",
        fmt::format("is not supported, expected {}: {}", fmt::join(known, " or "), model_type));
  }
  refuse_unknown_options(config);
  return {family->model_type, family->read_config(config), family->names};
}

}  // namespace limn
