// GPT-2, GPT-J, GPT-NeoX, OPT, BLOOM, Falcon and Phi. docs/model-families.md has the facts.

#include <array>
#include <cmath>

#include <fmt/format.h>

#include "worker/family_table.h"

namespace limn {

namespace {

// Layer norms with biases and a plain MLP, sizes in the spelling of GPT-2.
DecoderConfig gpt2_like(const ConfigReader& config) {
  DecoderConfig decoder;
  decoder.vocab_size = config.size("vocab_size");
  decoder.hidden = config.size("n_embd");
  decoder.num_heads = config.size("n_head");
  decoder.num_kv_heads = decoder.num_heads;
  decoder.head_dim = decoder.hidden / decoder.num_heads;
  decoder.max_positions = config.size_or("n_positions", 1024);
  decoder.inner = config.size_or("n_inner", 4 * decoder.hidden);
  decoder.layers = equal_layers(config.size("n_layer"), decoder.head_dim);
  decoder.norm = NormKind::Layer;
  decoder.norm_epsilon = config.positive_or("layer_norm_epsilon", 1e-5);
  decoder.norm_biases = true;
  decoder.mlp = MlpKind::Plain;
  decoder.mlp_bias = true;
  decoder.activation = read_activation(config, "activation_function", "gelu_new");
  return decoder;
}

ModelConfig read_gpt2(const ConfigReader& config) {
  ModelConfig model;
  model.decoder = gpt2_like(config);
  model.decoder.position = PositionKind::Learned;
  model.decoder.qkv_bias = true;
  model.decoder.attention_out_bias = true;
  model.decoder.tied_head = config.flag_or("tie_word_embeddings", true);
  const bool scaled = config.flag_or("scale_attn_weights", true);
  const bool by_layer = config.flag_or("scale_attn_by_inverse_layer_idx", false);
  double number = 0;
  for (LayerConfig& layer : model.decoder.layers) {
    ++number;
    if (!scaled) layer.attention_scale = 1;
    if (by_layer) layer.attention_scale /= number;
  }
  model.names = {
      .prefix = "transformer.",
      .embedding = "wte",
      .positions = "wpe",
      .layer = "h.{}.",
      .attention_in_norm = "ln_1",
      .mlp_in_norm = "ln_2",
      .qkv_layout = QkvLayout::Concatenated,
      .query = "attn.c_attn",
      .attention_out = "attn.c_proj",
      .up = "mlp.c_fc",
      .down = "mlp.c_proj",
      .final_norm = "ln_f",
      .head = "lm_head",
      .transposed = true};
  return model;
}

ModelConfig read_gptj(const ConfigReader& config) {
  ModelConfig model;
  model.decoder = gpt2_like(config);
  model.decoder.residual = ResidualKind::Parallel;
  model.decoder.tied_head = config.flag_or("tie_word_embeddings", false);
  const std::int64_t rotated = config.size_or("rotary_dim", 64);
  if (rotated % 2 != 0 || rotated > model.decoder.head_dim) {
    config.refuse(
        "rotary_dim",
        fmt::format(
            "must be even and at most {}, the width of a head: {}",
            model.decoder.head_dim,
            rotated));
  }
  model.decoder.ropes = {{.rotated = rotated, .pairing = RotaryPairing::Neighbours}};
  model.names = {
      .prefix = "transformer.",
      .embedding = "wte",
      .layer = "h.{}.",
      .attention_in_norm = "ln_1",
      .mlp_in_norm = "ln_1",
      .query = "attn.q_proj",
      .key = "attn.k_proj",
      .value = "attn.v_proj",
      .attention_out = "attn.out_proj",
      .up = "mlp.fc_in",
      .down = "mlp.fc_out",
      .final_norm = "ln_f",
      .head = "lm_head",
      .head_bias = true};
  return model;
}

ModelConfig read_gpt_neox(const ConfigReader& config) {
  ModelConfig model;
  DecoderConfig& decoder = model.decoder;
  decoder.vocab_size = config.size("vocab_size");
  decoder.hidden = config.size("hidden_size");
  decoder.num_heads = config.size("num_attention_heads");
  decoder.num_kv_heads = decoder.num_heads;
  decoder.head_dim = decoder.hidden / decoder.num_heads;
  decoder.max_positions = config.size_or("max_position_embeddings", 2048);
  decoder.inner = config.size("intermediate_size");
  decoder.layers = equal_layers(config.size("num_hidden_layers"), decoder.head_dim);
  decoder.ropes = {read_rope(
      config,
      {.head_dim = decoder.head_dim, .max_positions = decoder.max_positions, .fraction = 0.25})};
  read_attention_biases(config, decoder, /*absent=*/true);
  decoder.norm = NormKind::Layer;
  decoder.norm_epsilon = config.positive_or("layer_norm_eps", 1e-5);
  decoder.norm_biases = true;
  decoder.residual = config.flag_or("use_parallel_residual", true) ? ResidualKind::Parallel
                                                                   : ResidualKind::Sequential;
  decoder.mlp = MlpKind::Plain;
  decoder.mlp_bias = true;
  decoder.activation = read_activation(config, "hidden_act", "gelu");
  decoder.tied_head = config.flag_or("tie_word_embeddings", false);
  model.names = {
      .prefix = "gpt_neox.",
      .embedding = "embed_in",
      .layer = "layers.{}.",
      .attention_in_norm = "input_layernorm",
      .mlp_in_norm = "post_attention_layernorm",
      .qkv_layout = QkvLayout::Grouped,
      .query = "attention.query_key_value",
      .attention_out = "attention.dense",
      .up = "mlp.dense_h_to_4h",
      .down = "mlp.dense_4h_to_h",
      .final_norm = "final_layer_norm",
      .head = "embed_out"};
  return model;
}

ModelConfig read_opt(const ConfigReader& config) {
  ModelConfig model;
  DecoderConfig& decoder = model.decoder;
  decoder.vocab_size = config.size("vocab_size");
  decoder.hidden = config.size("hidden_size");
  decoder.embedding_width = config.size_or("word_embed_proj_dim", decoder.hidden);
  decoder.num_heads = config.size("num_attention_heads");
  decoder.num_kv_heads = decoder.num_heads;
  decoder.head_dim = decoder.hidden / decoder.num_heads;
  decoder.max_positions = config.size_or("max_position_embeddings", 2048);
  decoder.inner = config.size("ffn_dim");
  decoder.layers = equal_layers(config.size("num_hidden_layers"), decoder.head_dim);
  decoder.position = PositionKind::Learned;
  decoder.position_offset = 2;
  const bool biases = config.flag_or("enable_bias", true);
  decoder.qkv_bias = biases;
  decoder.attention_out_bias = biases;
  decoder.mlp_bias = biases;
  decoder.norm = NormKind::Layer;
  decoder.norm_epsilon = 1e-5;
  decoder.norm_weights = config.flag_or("layer_norm_elementwise_affine", true);
  decoder.norm_biases = decoder.norm_weights;
  const bool norm_before = config.flag_or("do_layer_norm_before", true);
  decoder.residual = norm_before ? ResidualKind::Sequential : ResidualKind::PostNorm;
  decoder.final_norm = norm_before && !config.flag_or("_remove_final_layer_norm", false);
  decoder.mlp = MlpKind::Plain;
  decoder.activation = read_activation(config, "activation_function", "relu");
  decoder.tied_head = config.flag_or("tie_word_embeddings", true);
  model.names = {
      .prefix = "model.decoder.",
      .embedding = "embed_tokens",
      .positions = "embed_positions",
      .project_in = "project_in",
      .project_out = "project_out",
      .layer = "layers.{}.",
      .attention_in_norm = "self_attn_layer_norm",
      .mlp_in_norm = "final_layer_norm",
      .query = "self_attn.q_proj",
      .key = "self_attn.k_proj",
      .value = "self_attn.v_proj",
      .attention_out = "self_attn.out_proj",
      .up = "fc1",
      .down = "fc2",
      .final_norm = "final_layer_norm",
      .head = "lm_head"};
  return model;
}

// What BLOOM and Falcon call their layers.
TensorNames bloom_names() {
  return {
      .prefix = "transformer.",
      .embedding = "word_embeddings",
      .layer = "h.{}.",
      .attention_in_norm = "input_layernorm",
      .mlp_in_norm = "post_attention_layernorm",
      .qkv_layout = QkvLayout::Grouped,
      .query = "self_attention.query_key_value",
      .attention_out = "self_attention.dense",
      .up = "mlp.dense_h_to_4h",
      .down = "mlp.dense_4h_to_h",
      .final_norm = "ln_f",
      .head = "lm_head"};
}

ModelConfig read_bloom(const ConfigReader& config) {
  ModelConfig model;
  DecoderConfig& decoder = model.decoder;
  decoder.vocab_size = config.size("vocab_size");
  decoder.hidden = config.size(config.spelling({"hidden_size", "n_embed"}));
  decoder.num_heads = config.size(config.spelling({"n_head", "num_attention_heads"}));
  decoder.num_kv_heads = decoder.num_heads;
  decoder.head_dim = decoder.hidden / decoder.num_heads;
  decoder.inner = 4 * decoder.hidden;
  decoder.layers = equal_layers(
      config.size(config.spelling({"n_layer", "num_hidden_layers"})), decoder.head_dim);
  decoder.position = PositionKind::Alibi;
  decoder.embedding_norm = true;
  decoder.qkv_bias = true;
  decoder.attention_out_bias = true;
  decoder.norm = NormKind::Layer;
  decoder.norm_epsilon = config.positive_or("layer_norm_epsilon", 1e-5);
  decoder.norm_biases = true;
  decoder.residual = config.flag_or("apply_residual_connection_post_layernorm", false)
                         ? ResidualKind::Normed
                         : ResidualKind::Sequential;
  decoder.mlp = MlpKind::Plain;
  decoder.mlp_bias = true;
  decoder.activation = Activation::GeluTanh;
  decoder.tied_head = config.flag_or("tie_word_embeddings", true);
  model.names = bloom_names();
  model.names.embedding_norm = "word_embeddings_layernorm";
  return model;
}

ModelConfig read_falcon(const ConfigReader& config) {
  ModelConfig model;
  DecoderConfig& decoder = model.decoder;
  decoder.vocab_size = config.size("vocab_size");
  decoder.hidden = config.size("hidden_size");
  decoder.num_heads = config.size(config.spelling({"num_attention_heads", "n_head"}));
  decoder.head_dim = decoder.hidden / decoder.num_heads;
  decoder.inner = config.size_or("ffn_hidden_size", 4 * decoder.hidden);
  decoder.layers = equal_layers(
      config.size(config.spelling({"num_hidden_layers", "n_layer"})), decoder.head_dim);

  const bool new_architecture = config.flag_or("new_decoder_architecture", false);
  const bool multi_query = !new_architecture && config.flag_or("multi_query", true);
  const bool parallel = new_architecture || config.flag_or("parallel_attn", true);
  decoder.num_kv_heads = decoder.num_heads;
  if (new_architecture) decoder.num_kv_heads = config.size_or("num_kv_heads", decoder.num_heads);
  if (multi_query) decoder.num_kv_heads = 1;

  if (config.flag_or("alibi", false)) {
    decoder.position = PositionKind::Alibi;
    decoder.alibi = AlibiKind::Falcon;
  } else {
    decoder.max_positions = config.size_or("max_position_embeddings", 2048);
    decoder.ropes = {
        read_rope(config, {.head_dim = decoder.head_dim, .max_positions = decoder.max_positions})};
  }
  const bool biases = config.flag_or("bias", false);
  decoder.qkv_bias = biases;
  decoder.attention_out_bias = biases;
  decoder.mlp_bias = biases;
  decoder.norm = NormKind::Layer;
  decoder.norm_epsilon = config.positive_or("layer_norm_epsilon", 1e-5);
  decoder.norm_biases = true;
  decoder.residual = parallel ? ResidualKind::Parallel : ResidualKind::Sequential;
  decoder.mlp = MlpKind::Plain;
  decoder.activation = read_activation(config, "activation", "gelu");
  decoder.tied_head = config.flag_or("tie_word_embeddings", true);

  model.names = bloom_names();
  if (multi_query) model.names.qkv_layout = QkvLayout::Concatenated;
  if (new_architecture && config.size_or("num_ln_in_parallel_attn", 2) == 2) {
    model.names.attention_in_norm = "ln_attn";
    model.names.mlp_in_norm = "ln_mlp";
  } else if (parallel) {
    model.names.mlp_in_norm = model.names.attention_in_norm;
  }
  return model;
}

ModelConfig read_phi(const ConfigReader& config) {
  ModelConfig model;
  DecoderConfig& decoder = model.decoder;
  decoder.vocab_size = config.size("vocab_size");
  decoder.hidden = config.size("hidden_size");
  decoder.inner = config.size("intermediate_size");
  decoder.num_heads = config.size("num_attention_heads");
  decoder.num_kv_heads = config.size_or("num_key_value_heads", decoder.num_heads);
  decoder.head_dim = decoder.hidden / decoder.num_heads;
  decoder.max_positions = config.size_or("max_position_embeddings", 2048);
  decoder.layers = equal_layers(config.size("num_hidden_layers"), decoder.head_dim);
  decoder.ropes = {read_rope(
      config,
      {.head_dim = decoder.head_dim, .max_positions = decoder.max_positions, .fraction = 0.5})};
  decoder.qkv_bias = true;
  decoder.attention_out_bias = true;
  decoder.norm = NormKind::Layer;
  decoder.norm_epsilon = config.positive_or("layer_norm_eps", 1e-5);
  decoder.norm_biases = true;
  if (config.flag_or("qk_layernorm", false)) {
    decoder.head_norm = HeadNormKind::SharedWeight;
    decoder.head_norm_biases = true;
  }
  decoder.residual = ResidualKind::Parallel;
  decoder.mlp = MlpKind::Plain;
  decoder.mlp_bias = true;
  decoder.activation = read_activation(config, "hidden_act", "gelu_new");
  decoder.tied_head = config.flag_or("tie_word_embeddings", false);
  model.names = {
      .prefix = "model.",
      .embedding = "embed_tokens",
      .layer = "layers.{}.",
      .attention_in_norm = "input_layernorm",
      .mlp_in_norm = "input_layernorm",
      .query = "self_attn.q_proj",
      .key = "self_attn.k_proj",
      .value = "self_attn.v_proj",
      .query_norm = "self_attn.q_layernorm",
      .key_norm = "self_attn.k_layernorm",
      .attention_out = "self_attn.dense",
      .up = "mlp.fc1",
      .down = "mlp.fc2",
      .final_norm = "final_layernorm",
      .head = "lm_head",
      .head_bias = true};
  return model;
}

constexpr std::array kFamilies{
    ModelFamily{"bloom", read_bloom},
    ModelFamily{"falcon", read_falcon},
    ModelFamily{"gpt2", read_gpt2},
    ModelFamily{"gpt_neox", read_gpt_neox},
    ModelFamily{"gptj", read_gptj},
    ModelFamily{"opt", read_opt},
    ModelFamily{"phi", read_phi},
};

}  // namespace

std::span<const ModelFamily> gpt_families() {
  return kFamilies;
}

}  // namespace limn
