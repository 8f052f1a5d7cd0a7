#include "worker/model_family.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "storage/error.h"
#include "storage/json_file.h"
#include "worker/config_reader.h"
#include "worker/family_table.h"

namespace limn {

namespace {

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

RopeScaling rope_scaling_of(const ConfigReader& scaling, const RopeDefaults& absent) {
  const char* const key = scaling.has("rope_type") ? "rope_type" : "type";
  const std::string type = scaling.text_or(key, "default");
  if (type == "default") return RopeScaling::None;
  if (absent.early_longrope_names && (type == "su" || type == "yarn")) return RopeScaling::LongRope;
  if (type == "linear") return RopeScaling::Linear;
  if (type == "llama3") return RopeScaling::Llama3;
  if (type == "yarn") return RopeScaling::Yarn;
  if (type == "longrope") return RopeScaling::LongRope;
  // "dynamic", too: its frequencies depend on the longest sequence that the model has seen so far.
  scaling.refuse(
      key, "is not supported, expected default, linear, llama3, yarn or longrope: " + type);
}

std::vector<double> pair_factors(
    const ConfigReader& scaling, std::string_view key, const RopeConfig& rope) {
  std::vector<double> factors = scaling.numbers(key);
  if (std::ssize(factors) != rope.rotated / 2) {
    scaling.refuse(
        key,
        fmt::format(
            "must have {} numbers, one for each pair of dimensions: {}",
            rope.rotated / 2,
            factors.size()));
  }
  return factors;
}

void read_longrope(const ConfigReader& scaling, std::int64_t max_positions, RopeConfig& rope) {
  rope.short_factors = pair_factors(scaling, "short_factor", rope);
  rope.long_factors = pair_factors(scaling, "long_factor", rope);
  const double stretch = static_cast<double>(max_positions) / rope.original_max_positions;
  rope.factor = scaling.positive_or("factor", stretch);
  const double usual =
      rope.factor <= 1
          ? 1
          : std::sqrt(1 + std::log(rope.factor) / std::log(rope.original_max_positions));
  rope.attention_factor = scaling.positive_or("attention_factor", usual);
}

void read_rope_scaling(
    const ConfigReader& config,
    const ConfigReader& scaling,
    const RopeDefaults& absent,
    RopeConfig& rope) {
  rope.scaling = rope_scaling_of(scaling, absent);
  if (rope.scaling == RopeScaling::None) return;
  // A top-level key (and so a family's default for it) takes precedence over the dictionary's.
  const std::string_view key = "original_max_position_embeddings";
  const std::int64_t otherwise = absent.original_max_positions > 0
                                     ? absent.original_max_positions
                                     : scaling.size_or(key, absent.max_positions);
  rope.original_max_positions = static_cast<double>(config.size_or(key, otherwise));
  if (rope.scaling == RopeScaling::LongRope) {
    read_longrope(scaling, absent.max_positions, rope);
    return;
  }
  rope.factor = scaling.positive("factor");
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

// A decoder that no tensors can have.
void refuse_impossible_sizes(const ConfigReader& config, const DecoderConfig& decoder) {
  if (decoder.num_heads % decoder.num_kv_heads != 0) {
    config.refuse("num_key_value_heads", "must divide num_attention_heads");
  }
  if (decoder.head_dim < 1) {
    config.refuse("num_attention_heads", "must be at most hidden_size");
  }
  if (decoder.experts && decoder.experts->num_chosen > decoder.experts->num_experts) {
    config.refuse(
        "num_experts_per_tok",
        fmt::format(
            "must be at most the number of experts, {}: {}",
            decoder.experts->num_experts,
            decoder.experts->num_chosen));
  }
}

// Options that change what any model computes and that no family has.
void refuse_unknown_options(const ConfigReader& config) {
  if (config.has("quantization_config")) {
    config.refuse(
        "quantization_config", "is not supported; use a checkpoint that is not quantized");
  }
}

}  // namespace

Activation read_activation(
    const ConfigReader& config, std::string_view key, std::string_view absent) {
  const std::string name = config.text_or(key, absent);
  if (name == "silu" || name == "swish") return Activation::Silu;
  if (name == "gelu") return Activation::Gelu;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh" || name == "gelu_fast") {
    return Activation::GeluTanh;
  }
  if (name == "relu") return Activation::Relu;
  config.refuse(key, "is not supported, expected silu, gelu, gelu_new or relu: " + name);
}

RopeConfig read_rope_of(
    const ConfigReader& config, const ConfigReader& parameters, const RopeDefaults& absent) {
  RopeConfig rope;
  rope.theta = parameters.positive_or("rope_theta", absent.theta);
  rope.rotated = absent.head_dim;
  read_rope_scaling(config, parameters, absent, rope);
  return rope;
}

// transformers 5 writes rope_parameters; nearly every checkpoint on the hub has rope_theta and
// rope_scaling. Where they are mixed this goes as transformers does.
RopeConfig read_rope(const ConfigReader& config, const RopeDefaults& absent) {
  RopeConfig rope;
  rope.theta = config.positive_or(config.spelling({"rope_theta", "rotary_emb_base"}), absent.theta);
  double fraction =
      config.positive_or(config.spelling({"partial_rotary_factor", "rotary_pct"}), absent.fraction);
  const auto scaling = config.object("rope_scaling");
  const auto parameters = scaling ? scaling : config.object("rope_parameters");
  if (parameters) {
    rope.theta = parameters->positive_or("rope_theta", rope.theta);
    fraction = parameters->positive_or("partial_rotary_factor", fraction);
  }
  rope.rotated = static_cast<std::int64_t>(static_cast<double>(absent.head_dim) * fraction);
  if (rope.rotated < 2 || rope.rotated % 2 != 0 || rope.rotated > absent.head_dim) {
    config.refuse("head_dim", "must be even, for rotary positions pair dimensions");
  }
  if (parameters) read_rope_scaling(config, *parameters, absent, rope);
  return rope;
}

void read_attention_biases(const ConfigReader& config, DecoderConfig& decoder, bool absent) {
  decoder.qkv_bias = config.flag_or("attention_bias", absent);
  decoder.attention_out_bias = decoder.qkv_bias;
}

std::vector<LayerConfig> equal_layers(std::int64_t count, std::int64_t head_dim) {
  const double scale = 1 / std::sqrt(static_cast<double>(head_dim));
  return std::vector<LayerConfig>(
      static_cast<std::size_t>(count), LayerConfig{.attention_scale = scale});
}

ModelConfig load_model_config(const std::filesystem::path& folder) {
  return read_model_config(folder / "config.json");
}

ModelConfig read_model_config(const std::filesystem::path& file) {
  const nlohmann::json json = read_json(file);
  if (!json.is_object()) throw DataError(fmt::format("{}: expected an object", file.string()));
  const ConfigReader config(json, file.string());

  const std::string model_type = config.text_or("model_type", "");
  std::vector<std::string_view> known;
  for (const auto families : {llama_families(), gpt_families()}) {
    for (const ModelFamily& family : families) {
      if (family.model_type == model_type) {
        refuse_unknown_options(config);
        ModelConfig model = family.read(config);
        refuse_impossible_sizes(config, model.decoder);
        model.model_type = family.model_type;
        return model;
      }
      known.push_back(family.model_type);
    }
  }
  std::ranges::sort(known);
  config.refuse(
      "model_type",
      fmt::format("is not supported, expected one of {}: {}", fmt::join(known, ", "), model_type));
}

}  // namespace limn
