// Llama and those that descend from it. docs/model-families.md has the facts.

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

#include "worker/family_table.h"

namespace limn {

namespace {

TensorNames llama_names() {
  return {
      .prefix = "model.",
      .embedding = "embed_tokens",
      .layer = "layers.{}.",
      .attention_in_norm = "input_layernorm",
      .mlp_in_norm = "post_attention_layernorm",
      .query = "self_attn.q_proj",
      .key = "self_attn.k_proj",
      .value = "self_attn.v_proj",
      .query_norm = "self_attn.q_norm",
      .key_norm = "self_attn.k_norm",
      .attention_out = "self_attn.o_proj",
      .gate = "mlp.gate_proj",
      .up = "mlp.up_proj",
      .down = "mlp.down_proj",
      .final_norm = "norm",
      .head = "lm_head"};
}

// A family's defaults for keys that may be absent.
struct LlamaDefaults {
  std::int64_t num_kv_heads = 0;  // 0: num_attention_heads
  std::int64_t head_dim = 0;      // 0: hidden_size / num_attention_heads
  bool has_head_dim_key = true;
  std::int64_t max_positions = 2048;
  double theta = 10000;
  double rotated = 1;                       // fraction of head_dim
  std::int64_t original_max_positions = 0;  // as in RopeDefaults
  bool early_longrope_names = false;
  double norm_epsilon = 1e-6;
  std::string_view norm_epsilon_key = "rms_norm_eps";
  std::string_view activation = "silu";
  bool tied_head = false;
};

// What all of them share: sizes, rotary positions, a gated MLP, one root mean square norm before
// each half.
ModelConfig llama_like(const ConfigReader& config, const LlamaDefaults& absent) {
  ModelConfig model;
  DecoderConfig& decoder = model.decoder;
  decoder.vocab_size = config.size("vocab_size");
  decoder.hidden = config.size("hidden_size");
  decoder.inner = config.size("intermediate_size");
  decoder.num_heads = config.size("num_attention_heads");
  decoder.num_kv_heads = config.size_or(
      "num_key_value_heads", absent.num_kv_heads > 0 ? absent.num_kv_heads : decoder.num_heads);
  decoder.head_dim = absent.head_dim > 0 ? absent.head_dim : decoder.hidden / decoder.num_heads;
  if (absent.has_head_dim_key) decoder.head_dim = config.size_or("head_dim", decoder.head_dim);
  decoder.max_positions = config.size_or("max_position_embeddings", absent.max_positions);
  decoder.layers = equal_layers(config.size("num_hidden_layers"), decoder.head_dim);
  decoder.ropes = {read_rope(
      config,
      {.head_dim = decoder.head_dim,
       .max_positions = decoder.max_positions,
       .theta = absent.theta,
       .fraction = absent.rotated,
       .original_max_positions = absent.original_max_positions,
       .early_longrope_names = absent.early_longrope_names})};
  decoder.norm_epsilon = config.positive_or(absent.norm_epsilon_key, absent.norm_epsilon);
  decoder.activation = read_activation(config, "hidden_act", absent.activation);
  decoder.tied_head = config.flag_or("tie_word_embeddings", absent.tied_head);
  model.names = llama_names();
  return model;
}

// Gives the layers whose number satisfies `is_windowed` the window of the config; layer_types,
// where it is there, decides instead.
void set_windows(
    const ConfigReader& config,
    DecoderConfig& decoder,
    std::int64_t window,
    const std::function<bool(std::int64_t)>& is_windowed) {
  const std::vector<std::string> types = config.texts("layer_types");
  if (!types.empty() && std::ssize(types) != decoder.num_layers()) {
    config.refuse("layer_types", "must have one entry for each layer");
  }
  for (std::int64_t i = 0; i < decoder.num_layers(); ++i) {
    const auto index = static_cast<std::size_t>(i);
    bool windowed = is_windowed(i);
    if (!types.empty()) {
      windowed = types[index] == "sliding_attention";
      if (!windowed && types[index] != "full_attention") {
        config.refuse("layer_types", "has an unsupported layer: " + types[index]);
      }
    }
    if (windowed) decoder.layers[index].window = window;
  }
}

bool every_layer(std::int64_t /*layer*/) {
  return true;
}

ModelConfig read_llama(const ConfigReader& config) {
  ModelConfig model = llama_like(config, {});
  read_attention_biases(config, model.decoder, /*absent=*/false);
  model.decoder.mlp_bias = config.flag_or("mlp_bias", false);
  return model;
}

ModelConfig read_granite(const ConfigReader& config) {
  ModelConfig model = read_llama(config);
  model.decoder.embedding_scale = config.positive_or("embedding_multiplier", 1);
  model.decoder.residual_multiplier = config.positive_or("residual_multiplier", 1);
  model.decoder.logit_scale = 1 / config.positive_or("logits_scaling", 1);
  for (LayerConfig& layer : model.decoder.layers) {
    layer.attention_scale = config.positive_or("attention_multiplier", 1);
  }
  return model;
}

ModelConfig read_mistral(const ConfigReader& config) {
  ModelConfig model = llama_like(config, {.num_kv_heads = 8, .max_positions = 131072});
  // Absent it is 4096; null turns it off.
  if (config.is_null("sliding_window")) return model;
  set_windows(config, model.decoder, config.size_or("sliding_window", 4096), every_layer);
  return model;
}

ModelConfig read_mixtral(const ConfigReader& config) {
  ModelConfig model = llama_like(
      config, {.num_kv_heads = 8, .max_positions = 131072, .theta = 1e6, .norm_epsilon = 1e-5});
  if (config.has("sliding_window")) {
    set_windows(config, model.decoder, config.size("sliding_window"), every_layer);
  }
  model.decoder.experts = {
      .num_experts = config.size_or(config.spelling({"num_local_experts", "num_experts"}), 8),
      .num_chosen = config.size_or("num_experts_per_tok", 2),
      .inner = model.decoder.inner};
  for (LayerConfig& layer : model.decoder.layers)
    layer.has_experts = true;
  model.names.router = "block_sparse_moe.gate";
  model.names.expert_gate = "block_sparse_moe.experts.{}.w1";
  model.names.expert_up = "block_sparse_moe.experts.{}.w3";
  model.names.expert_down = "block_sparse_moe.experts.{}.w2";
  return model;
}

// Qwen has a window only where use_sliding_window says so.
void set_qwen_windows(
    const ConfigReader& config,
    DecoderConfig& decoder,
    const std::function<bool(std::int64_t)>& is_windowed) {
  if (!config.flag_or("use_sliding_window", false) || config.is_null("sliding_window")) return;
  set_windows(config, decoder, config.size_or("sliding_window", 4096), is_windowed);
}

ModelConfig read_qwen2(const ConfigReader& config) {
  ModelConfig model = llama_like(config, {.num_kv_heads = 32, .max_positions = 32768});
  model.decoder.qkv_bias = true;
  const std::int64_t first_windowed = config.count_or("max_window_layers", 28);
  set_qwen_windows(
      config, model.decoder, [=](std::int64_t layer) { return layer >= first_windowed; });
  return model;
}

ModelConfig read_qwen3(const ConfigReader& config) {
  ModelConfig model =
      llama_like(config, {.num_kv_heads = 32, .head_dim = 128, .max_positions = 32768});
  read_attention_biases(config, model.decoder, /*absent=*/false);
  model.decoder.head_norm = HeadNormKind::SharedWeight;
  const std::int64_t first_windowed = config.count_or("max_window_layers", 28);
  set_qwen_windows(
      config, model.decoder, [=](std::int64_t layer) { return layer >= first_windowed; });
  return model;
}

ModelConfig read_qwen3_moe(const ConfigReader& config) {
  ModelConfig model = llama_like(config, {.num_kv_heads = 4, .max_positions = 32768});
  DecoderConfig& decoder = model.decoder;
  read_attention_biases(config, decoder, /*absent=*/false);
  decoder.head_norm = HeadNormKind::SharedWeight;
  set_qwen_windows(config, decoder, every_layer);
  decoder.experts = {
      .num_experts = config.size_or(config.spelling({"num_local_experts", "num_experts"}), 128),
      .num_chosen = config.size_or("num_experts_per_tok", 8),
      .inner = config.size("moe_intermediate_size"),
      .renormalize = config.flag_or("norm_topk_prob", false)};
  const std::int64_t step = config.size_or("decoder_sparse_step", 1);
  const std::vector<std::int64_t> dense = config.counts("mlp_only_layers");
  for (std::int64_t i = 0; i < decoder.num_layers(); ++i) {
    const bool is_dense = std::ranges::find(dense, i) != dense.end();
    decoder.layers[static_cast<std::size_t>(i)].has_experts = !is_dense && (i + 1) % step == 0;
  }
  model.names.router = "mlp.gate";
  model.names.expert_gate = "mlp.experts.{}.gate_proj";
  model.names.expert_up = "mlp.experts.{}.up_proj";
  model.names.expert_down = "mlp.experts.{}.down_proj";
  return model;
}

ModelConfig read_gpt_oss(const ConfigReader& config) {
  ModelConfig model = llama_like(
      config,
      {.num_kv_heads = 8,
       .head_dim = 64,
       .max_positions = 131072,
       .theta = 150000,
       .norm_epsilon = 1e-5});
  DecoderConfig& decoder = model.decoder;
  if (!config.has("rope_parameters") && !config.has("rope_scaling")) {
    config.refuse("rope_scaling", "is missing; fetch the checkpoint's config.json again");
  }
  read_attention_biases(config, decoder, /*absent=*/true);
  decoder.attention_sinks = true;
  set_windows(config, decoder, config.size_or("sliding_window", 128), [](std::int64_t layer) {
    return layer % 2 == 0;
  });
  decoder.experts = {
      .num_experts = config.size_or(config.spelling({"num_local_experts", "num_experts"}), 128),
      .num_chosen = config.size_or("num_experts_per_tok", 4),
      .inner = decoder.inner,
      .softmax_chosen_only = true,
      .clamped_with_bias = true};
  for (LayerConfig& layer : decoder.layers)
    layer.has_experts = true;
  model.names.sinks = "self_attn.sinks";
  model.names.router = "mlp.router";
  model.names.experts_layout = ExpertsLayout::Stacked;
  model.names.expert_gate = "mlp.experts.gate_up_proj";
  model.names.expert_down = "mlp.experts.down_proj";
  return model;
}

ModelConfig read_phi3(const ConfigReader& config) {
  ModelConfig model = llama_like(
      config,
      {.max_positions = 4096,
       .original_max_positions = 4096,
       .early_longrope_names = true,
       .norm_epsilon = 1e-5});
  if (config.has("sliding_window")) {
    set_windows(config, model.decoder, config.size("sliding_window"), every_layer);
  }
  model.names.qkv_layout = QkvLayout::Concatenated;
  model.names.query = "self_attn.qkv_proj";
  model.names.gate = "";
  model.names.up = "mlp.gate_up_proj";
  return model;
}

void refuse_bidirectional_attention(const ConfigReader& config) {
  if (config.flag_or("use_bidirectional_attention", false)) {
    config.refuse("use_bidirectional_attention", "is not supported: limn explains causal models");
  }
}

// Gemma scales its embeddings by sqrt(hidden), in the dtype of the weights, and its norms by 1 +
// weight.
void set_gemma_norms(ModelConfig& model) {
  model.decoder.norm = NormKind::RmsPlusOne;
  model.decoder.embedding_scale = std::sqrt(static_cast<double>(model.decoder.hidden));
}

constexpr LlamaDefaults kGemmaDefaults{
    .num_kv_heads = 16,
    .head_dim = 256,
    .max_positions = 8192,
    .activation = "gelu_pytorch_tanh",
    .tied_head = true};

ModelConfig read_gemma(const ConfigReader& config) {
  ModelConfig model = llama_like(config, kGemmaDefaults);
  refuse_bidirectional_attention(config);
  // What published files call "gelu" is the tanh form that the model was trained with.
  const std::string_view key = config.spelling({"hidden_activation", "hidden_act"});
  const Activation named = read_activation(config, key, "gelu_pytorch_tanh");
  model.decoder.activation = named == Activation::Gelu ? Activation::GeluTanh : named;
  read_attention_biases(config, model.decoder, /*absent=*/false);
  set_gemma_norms(model);
  return model;
}

// Gemma 2 and 3: four norms a layer, another scale of the logits.
ModelConfig gemma_with_sandwich_norms(const ConfigReader& config, LlamaDefaults absent) {
  absent.num_kv_heads = 4;
  ModelConfig model = llama_like(config, absent);
  DecoderConfig& decoder = model.decoder;
  refuse_bidirectional_attention(config);
  set_gemma_norms(model);
  decoder.activation = read_activation(config, "hidden_activation", "gelu_pytorch_tanh");
  read_attention_biases(config, decoder, /*absent=*/false);
  decoder.logit_softcap = config.positive_or("final_logit_softcapping", 0);
  const double scale = 1 / std::sqrt(config.positive_or("query_pre_attn_scalar", 256));
  for (LayerConfig& layer : decoder.layers)
    layer.attention_scale = scale;
  model.names.attention_out_norm = "post_attention_layernorm";
  model.names.mlp_in_norm = "pre_feedforward_layernorm";
  model.names.mlp_out_norm = "post_feedforward_layernorm";
  return model;
}

ModelConfig read_gemma2(const ConfigReader& config) {
  ModelConfig model = gemma_with_sandwich_norms(config, kGemmaDefaults);
  DecoderConfig& decoder = model.decoder;
  // Absent they are 50 and 30; null turns them off.
  if (!config.is_null("attn_logit_softcapping")) {
    decoder.attention_softcap = config.positive_or("attn_logit_softcapping", 50);
  }
  if (!config.is_null("final_logit_softcapping")) {
    decoder.logit_softcap = config.positive_or("final_logit_softcapping", 30);
  }
  set_windows(config, decoder, config.size_or("sliding_window", 4096), [](std::int64_t layer) {
    return layer % 2 == 0;
  });
  return model;
}

ModelConfig read_gemma3(const ConfigReader& config) {
  LlamaDefaults absent = kGemmaDefaults;
  absent.theta = 1e6;
  absent.max_positions = 131072;
  ModelConfig model = gemma_with_sandwich_norms(config, absent);
  DecoderConfig& decoder = model.decoder;
  decoder.head_norm = HeadNormKind::SharedWeight;
  const std::int64_t pattern = config.size_or("sliding_window_pattern", 6);
  set_windows(config, decoder, config.size_or("sliding_window", 4096), [=](std::int64_t layer) {
    return (layer + 1) % pattern != 0;
  });
  // Windowed layers have positions of their own; a scaling is for the full ones alone.
  RopeConfig local;
  local.theta = config.positive_or("rope_local_base_freq", 10000);
  local.rotated = decoder.head_dim;
  if (const auto parameters = config.object("rope_parameters")) {
    RopeDefaults of_layer{
        .head_dim = decoder.head_dim, .max_positions = decoder.max_positions, .theta = 1e6};
    if (const auto full = parameters->object("full_attention")) {
      decoder.ropes[0] = read_rope_of(config, *full, of_layer);
    }
    of_layer.theta = 10000;
    if (const auto sliding = parameters->object("sliding_attention")) {
      local = read_rope_of(config, *sliding, of_layer);
    }
  }
  decoder.ropes.push_back(local);
  for (LayerConfig& layer : decoder.layers)
    layer.rope = layer.window > 0 ? 1 : 0;
  return model;
}

ModelConfig read_olmo2(const ConfigReader& config) {
  ModelConfig model = llama_like(config, {.norm_epsilon = 1e-5});
  read_attention_biases(config, model.decoder, /*absent=*/false);
  model.decoder.head_norm = HeadNormKind::AllHeads;
  model.names.attention_in_norm = "";
  model.names.attention_out_norm = "post_attention_layernorm";
  model.names.mlp_in_norm = "";
  model.names.mlp_out_norm = "post_feedforward_layernorm";
  return model;
}

ModelConfig read_cohere(const ConfigReader& config) {
  ModelConfig model = llama_like(
      config,
      {.max_positions = 8192,
       .theta = 500000,
       .norm_epsilon = 1e-5,
       .norm_epsilon_key = "layer_norm_eps",
       .tied_head = true});
  DecoderConfig& decoder = model.decoder;
  read_attention_biases(config, decoder, /*absent=*/false);
  decoder.norm = NormKind::Layer;
  decoder.ropes[0].pairing = RotaryPairing::Neighbours;
  if (config.flag_or("use_qk_norm", false)) decoder.head_norm = HeadNormKind::OwnWeight;
  decoder.residual = ResidualKind::Parallel;
  decoder.logit_scale = config.positive_or("logit_scale", 0.0625);
  model.names.mlp_in_norm = model.names.attention_in_norm;
  return model;
}

ModelConfig read_starcoder2(const ConfigReader& config) {
  ModelConfig model = llama_like(
      config,
      {.num_kv_heads = 2,
       .max_positions = 4096,
       .norm_epsilon = 1e-5,
       .norm_epsilon_key = "norm_epsilon",
       .activation = "gelu_pytorch_tanh",
       .tied_head = true});
  DecoderConfig& decoder = model.decoder;
  if (config.has("sliding_window")) {
    set_windows(config, decoder, config.size("sliding_window"), every_layer);
  }
  decoder.qkv_bias = config.flag_or("use_bias", true);
  decoder.attention_out_bias = decoder.qkv_bias;
  decoder.mlp_bias = decoder.qkv_bias;
  decoder.norm = NormKind::Layer;
  decoder.norm_biases = true;
  decoder.mlp = MlpKind::Plain;
  model.names.gate = "";
  model.names.up = "mlp.c_fc";
  model.names.down = "mlp.c_proj";
  return model;
}

ModelConfig read_stablelm(const ConfigReader& config) {
  ModelConfig model = llama_like(
      config,
      {.num_kv_heads = 32,
       .has_head_dim_key = false,
       .max_positions = 4096,
       .rotated = 0.25,
       .norm_epsilon = 1e-5,
       .norm_epsilon_key = "layer_norm_eps"});
  DecoderConfig& decoder = model.decoder;
  decoder.qkv_bias = config.flag_or("use_qkv_bias", false);
  decoder.norm = NormKind::Layer;
  decoder.norm_biases = true;
  if (config.flag_or("qk_layernorm", false)) {
    decoder.head_norm = HeadNormKind::OwnWeight;
    model.names.query_norm = "self_attn.q_layernorm.norms.{}";
    model.names.key_norm = "self_attn.k_layernorm.norms.{}";
  }
  if (config.flag_or("use_parallel_residual", false)) {
    decoder.residual = ResidualKind::Parallel;
    model.names.mlp_in_norm = model.names.attention_in_norm;
  }
  return model;
}

constexpr std::array kFamilies{
    ModelFamily{"cohere", read_cohere},
    ModelFamily{"gemma", read_gemma},
    ModelFamily{"gemma2", read_gemma2},
    ModelFamily{"gemma3_text", read_gemma3},
    ModelFamily{"gpt_oss", read_gpt_oss},
    ModelFamily{"granite", read_granite},
    ModelFamily{"llama", read_llama},
    ModelFamily{"mistral", read_mistral},
    ModelFamily{"mixtral", read_mixtral},
    ModelFamily{"olmo2", read_olmo2},
    ModelFamily{"phi3", read_phi3},
    ModelFamily{"qwen2", read_qwen2},
    ModelFamily{"qwen3", read_qwen3},
    ModelFamily{"qwen3_moe", read_qwen3_moe},
    ModelFamily{"stablelm", read_stablelm},
    ModelFamily{"starcoder2", read_starcoder2},
};

}  // namespace

std::span<const ModelFamily> llama_families() {
  return kFamilies;
}

}  // namespace limn
