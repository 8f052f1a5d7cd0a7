#include "worker/model_family.h"

#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "storage/error.h"
#include "tests/messages.h"
#include "tests/temporary_folder.h"

namespace limn::test {

namespace {

using nlohmann::json;
using testing::DoubleEq;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

// What a Llama's config.json must have, and no more.
json smallest_config() {
  return {
      {"model_type", "llama"},
      {"vocab_size", 131},
      {"hidden_size", 40},
      {"intermediate_size", 84},
      {"num_hidden_layers", 2},
      {"num_attention_heads", 4}};
}

// Sizes that the defaults of every family divide, in every spelling.
json family_config(const char* family) {
  return {
      {"model_type", family},
      {"vocab_size", 131},
      {"hidden_size", 256},
      {"n_embd", 256},
      {"intermediate_size", 84},
      {"ffn_dim", 84},
      {"num_hidden_layers", 30},
      {"n_layer", 30},
      {"num_attention_heads", 32},
      {"n_head", 32}};
}

std::vector<std::int64_t> windows(const DecoderConfig& decoder) {
  std::vector<std::int64_t> of_layers;
  for (const LayerConfig& layer : decoder.layers)
    of_layers.push_back(layer.window);
  return of_layers;
}

class ModelFamilyTest : public testing::Test {
 protected:
  ModelConfig load_text(const std::string& text) const {
    write_bytes(file(), text);
    return load_model_config(folder_.path());
  }

  // The smallest config with further keys.
  DecoderConfig load_with(const json& keys) const {
    json config = smallest_config();
    config.update(keys);
    return load_text(config.dump()).decoder;
  }

  // What a family's config with only sizes and these keys comes to.
  DecoderConfig defaults_of(const char* family, const json& keys = json::object()) const {
    json config = family_config(family);
    config.update(keys);
    return load_text(config.dump()).decoder;
  }

  // What is said about it, without the file's name in front.
  std::string refusal_of(const json& keys) const {
    const std::string message = message_of<DataError>([&] { load_with(keys); });
    EXPECT_THAT(message, StartsWith(file().string() + ": "));
    return message.substr(std::min(message.size(), file().string().size() + 2));
  }

  // Of a config whose scaled rotary positions are these.
  RopeConfig rope_of(const json& scaling) const {
    return load_with({{"rope_scaling", scaling}, {"max_position_embeddings", 4096}}).ropes.at(0);
  }

  std::filesystem::path file() const { return folder_ / "config.json"; }

  TemporaryFolder folder_;
};

json llama3_scaling() {
  return {
      {"factor", 8.0},
      {"low_freq_factor", 1.0},
      {"high_freq_factor", 4.0},
      {"original_max_position_embeddings", 8192}};
}

constexpr std::string_view kOneOfThem =
    "model_type is not supported, expected one of bloom, cohere, falcon, gemma, gemma2, "
    "gemma3_text, gpt2, gpt_neox, gpt_oss, gptj, granite, llama, mistral, mixtral, olmo2, opt, "
    "phi, phi3, qwen2, qwen3, qwen3_moe, stablelm, starcoder2";

struct Refusal {
  const char* name;
  json keys;  // beside the smallest config's
  std::string message;
};

class ModelFamilyRefusalTest : public ModelFamilyTest,
                               public testing::WithParamInterface<Refusal> {};

}  // namespace

TEST_F(ModelFamilyTest, FillsInTheDefaultsOfTheFamily) {
  const DecoderConfig decoder = load_with(json::object());
  EXPECT_EQ(decoder.vocab_size, 131);
  EXPECT_EQ(decoder.hidden, 40);
  EXPECT_EQ(decoder.inner, 84);
  EXPECT_EQ(decoder.num_layers(), 2);
  EXPECT_EQ(decoder.num_heads, 4);
  EXPECT_EQ(decoder.num_kv_heads, 4);
  EXPECT_EQ(decoder.head_dim, 10);
  EXPECT_EQ(decoder.max_positions, 2048);
  EXPECT_EQ(decoder.norm_epsilon, 1e-6);
  EXPECT_EQ(decoder.ropes.at(0).theta, 10000);
  EXPECT_EQ(decoder.ropes.at(0).scaling, RopeScaling::None);
  EXPECT_EQ(decoder.ropes.at(0).attention_factor, 1);
  EXPECT_FALSE(decoder.qkv_bias);
  EXPECT_FALSE(decoder.attention_out_bias);
  EXPECT_FALSE(decoder.mlp_bias);
  EXPECT_FALSE(decoder.tied_head);
}

TEST_F(ModelFamilyTest, ReadsWhatTheConfigSays) {
  const DecoderConfig decoder = load_with(
      {{"num_key_value_heads", 2},
       {"head_dim", 12},
       {"max_position_embeddings", 512},
       {"rms_norm_eps", 1e-5},
       {"rope_theta", 500000.0},
       {"attention_bias", true},
       {"mlp_bias", true},
       {"tie_word_embeddings", true}});
  EXPECT_EQ(decoder.num_kv_heads, 2);
  EXPECT_EQ(decoder.head_dim, 12);
  EXPECT_EQ(decoder.max_positions, 512);
  EXPECT_EQ(decoder.norm_epsilon, 1e-5);
  EXPECT_EQ(decoder.ropes.at(0).theta, 500000);
  EXPECT_TRUE(decoder.qkv_bias);
  EXPECT_TRUE(decoder.attention_out_bias);
  EXPECT_TRUE(decoder.mlp_bias);
  EXPECT_TRUE(decoder.tied_head);
}

TEST_F(ModelFamilyTest, TakesNullForAbsent) {
  const DecoderConfig decoder = load_with(
      {{"num_key_value_heads", nullptr},
       {"head_dim", nullptr},
       {"rope_scaling", nullptr},
       {"rope_parameters", nullptr},
       {"quantization_config", nullptr},
       {"sliding_window", nullptr},
       {"hidden_act", nullptr}});
  EXPECT_EQ(decoder.num_kv_heads, 4);
  EXPECT_EQ(decoder.head_dim, 10);
}

TEST_F(ModelFamilyTest, NamesTheTensorsOfTheFamily) {
  const ModelConfig model = load_text(smallest_config().dump());
  EXPECT_EQ(model.model_type, "llama");
  EXPECT_EQ(model.names.embedding, "embed_tokens");
  EXPECT_EQ(model.names.prefix, "model.");
  EXPECT_EQ(
      fmt::format(fmt::runtime(model.names.layer), 7) + std::string(model.names.query),
      "layers.7.self_attn.q_proj");
}

TEST_F(ModelFamilyTest, ReadsBothSpellingsOfScaledRotaryPositionsAlike) {
  json scaling = llama3_scaling();
  scaling["type"] = "llama3";
  const RopeConfig older =
      load_with({{"rope_theta", 500000.0}, {"rope_scaling", scaling}}).ropes.at(0);
  scaling.erase("type");
  scaling["rope_type"] = "llama3";
  scaling["rope_theta"] = 500000.0;
  const RopeConfig newer = load_with({{"rope_parameters", scaling}}).ropes.at(0);
  for (const RopeConfig& rope : {older, newer}) {
    EXPECT_EQ(rope.theta, 500000);
    EXPECT_EQ(rope.scaling, RopeScaling::Llama3);
    EXPECT_EQ(rope.factor, 8);
    EXPECT_EQ(rope.original_max_positions, 8192);
    EXPECT_EQ(rope.low_freq_factor, 1);
    EXPECT_EQ(rope.high_freq_factor, 4);
  }
}

TEST_F(ModelFamilyTest, TakesThetaFromTheTopWhereTheParametersHaveNone) {
  const json parameters = {{"rope_type", "default"}};
  EXPECT_EQ(
      load_with({{"rope_theta", 5e5}, {"rope_parameters", parameters}}).ropes.at(0).theta, 5e5);
}

TEST_F(ModelFamilyTest, PrefersTheOlderSpellingWhereThereAreBoth) {
  const json newer = {{"rope_type", "linear"}, {"factor", 2.0}, {"rope_theta", 5e5}};
  const json older = {{"rope_type", "linear"}, {"factor", 4.0}};
  const RopeConfig rope =
      load_with({{"rope_parameters", newer}, {"rope_scaling", older}}).ropes.at(0);
  EXPECT_EQ(rope.factor, 4);
  EXPECT_EQ(rope.theta, 10000);
}

TEST_F(ModelFamilyTest, ReadsLinearScaling) {
  const RopeConfig rope = rope_of({{"type", "linear"}, {"factor", 4.0}});
  EXPECT_EQ(rope.scaling, RopeScaling::Linear);
  EXPECT_EQ(rope.factor, 4);
}

TEST_F(ModelFamilyTest, ReadsYarnsDefaults) {
  const RopeConfig rope = rope_of({{"rope_type", "yarn"}, {"factor", 4.0}});
  EXPECT_EQ(rope.scaling, RopeScaling::Yarn);
  EXPECT_EQ(rope.beta_fast, 32);
  EXPECT_EQ(rope.beta_slow, 1);
  EXPECT_TRUE(rope.truncate);
  // Without a length of its own the scaling is for the model's.
  EXPECT_EQ(rope.original_max_positions, 4096);
  EXPECT_THAT(rope.attention_factor, DoubleEq(0.1 * std::log(4.0) + 1));
}

TEST_F(ModelFamilyTest, ScalesRotaryPositionsForTheLengthThatIsTheDefault) {
  const RopeConfig rope =
      load_with({{"rope_scaling", {{"type", "yarn"}, {"factor", 4.0}}}}).ropes.at(0);
  EXPECT_EQ(rope.original_max_positions, 2048);
}

TEST_F(ModelFamilyTest, ReadsYarnsOptions) {
  const json yarn = {
      {"rope_type", "yarn"},
      {"factor", 4.0},
      {"original_max_position_embeddings", 1024},
      {"beta_fast", 16},
      {"beta_slow", 2},
      {"truncate", false}};
  EXPECT_EQ(rope_of(yarn).original_max_positions, 1024);
  EXPECT_EQ(rope_of(yarn).beta_fast, 16);
  EXPECT_EQ(rope_of(yarn).beta_slow, 2);
  EXPECT_FALSE(rope_of(yarn).truncate);

  json with_factor = yarn;
  with_factor["attention_factor"] = 1.25;
  EXPECT_EQ(rope_of(with_factor).attention_factor, 1.25);

  json with_scales = yarn;
  with_scales["mscale"] = 2.0;
  EXPECT_THAT(rope_of(with_scales).attention_factor, DoubleEq(0.1 * std::log(4.0) + 1));
  with_scales["mscale_all_dim"] = 0.5;
  EXPECT_THAT(
      rope_of(with_scales).attention_factor,
      DoubleEq((0.2 * std::log(4.0) + 1) / (0.05 * std::log(4.0) + 1)));
}

TEST_F(ModelFamilyTest, TakesTheOriginalLengthFromTheTopFirst) {
  json scaling = llama3_scaling();
  scaling["rope_type"] = "llama3";
  const RopeConfig rope =
      load_with({{"original_max_position_embeddings", 2048}, {"rope_scaling", scaling}})
          .ropes.at(0);
  EXPECT_EQ(rope.original_max_positions, 2048);
}

TEST_F(ModelFamilyTest, LlamaHasNoWindowWhateverTheConfigSays) {
  for (const LayerConfig& layer : load_with({{"sliding_window", 7}}).layers)
    EXPECT_EQ(layer.window, 0);
}

TEST_F(ModelFamilyTest, KnowsTheNamesOfActivations) {
  const auto activation = [&](const char* name) {
    return load_with({{"hidden_act", name}}).activation;
  };
  EXPECT_EQ(activation("silu"), Activation::Silu);
  EXPECT_EQ(activation("swish"), Activation::Silu);
  EXPECT_EQ(activation("gelu"), Activation::Gelu);
  EXPECT_EQ(activation("gelu_new"), Activation::GeluTanh);
  EXPECT_EQ(activation("gelu_pytorch_tanh"), Activation::GeluTanh);
  EXPECT_EQ(activation("gelu_fast"), Activation::GeluTanh);
  EXPECT_EQ(activation("relu"), Activation::Relu);
}

// docs/model-families.md, section 2, has these defaults as a table.

TEST_F(ModelFamilyTest, FillsInMistralsDefaults) {
  const DecoderConfig decoder = defaults_of("mistral");
  EXPECT_EQ(decoder.num_kv_heads, 8);
  EXPECT_EQ(decoder.head_dim, 8);
  EXPECT_EQ(decoder.norm_epsilon, 1e-6);
  EXPECT_EQ(decoder.ropes.at(0).theta, 10000);
  EXPECT_THAT(windows(decoder), Each(4096));
  EXPECT_FALSE(decoder.tied_head);
}

TEST_F(ModelFamilyTest, NullTurnsMistralsWindowOff) {
  EXPECT_THAT(windows(defaults_of("mistral", {{"sliding_window", nullptr}})), Each(0));
}

TEST_F(ModelFamilyTest, FillsInMixtralsDefaults) {
  const DecoderConfig decoder = defaults_of("mixtral");
  EXPECT_EQ(decoder.num_kv_heads, 8);
  EXPECT_EQ(decoder.norm_epsilon, 1e-5);
  EXPECT_EQ(decoder.ropes.at(0).theta, 1e6);
  EXPECT_THAT(windows(decoder), Each(0));
  ASSERT_TRUE(decoder.experts);
  EXPECT_EQ(decoder.experts->num_experts, 8);
  EXPECT_EQ(decoder.experts->num_chosen, 2);
  EXPECT_EQ(decoder.experts->inner, 84);
  EXPECT_TRUE(decoder.experts->renormalize);
  EXPECT_FALSE(decoder.experts->softmax_chosen_only);
}

TEST_F(ModelFamilyTest, FillsInTheDefaultsOfQwen2) {
  const DecoderConfig decoder = defaults_of("qwen2");
  EXPECT_EQ(decoder.num_kv_heads, 32);
  EXPECT_TRUE(decoder.qkv_bias);
  EXPECT_FALSE(decoder.attention_out_bias);
  EXPECT_THAT(windows(decoder), Each(0));
}

TEST_F(ModelFamilyTest, FillsInTheDefaultsOfQwensWindow) {
  for (const char* const family : {"qwen2", "qwen3"}) {
    const DecoderConfig decoder = defaults_of(family, {{"use_sliding_window", true}});
    std::vector<std::int64_t> expected(30, 0);
    expected[28] = expected[29] = 4096;
    EXPECT_EQ(windows(decoder), expected) << family;
  }
}

TEST_F(ModelFamilyTest, FillsInTheDefaultsOfQwen3) {
  const DecoderConfig decoder = defaults_of("qwen3");
  EXPECT_EQ(decoder.num_kv_heads, 32);
  EXPECT_EQ(decoder.head_dim, 128);
  EXPECT_FALSE(decoder.qkv_bias);
  EXPECT_EQ(decoder.head_norm, HeadNormKind::SharedWeight);
  EXPECT_EQ(decoder.layers.at(0).attention_scale, 1 / std::sqrt(128.0));
}

TEST_F(ModelFamilyTest, FillsInTheDefaultsOfQwen3Moe) {
  const DecoderConfig decoder = defaults_of("qwen3_moe", {{"moe_intermediate_size", 11}});
  EXPECT_EQ(decoder.num_kv_heads, 4);
  EXPECT_EQ(decoder.head_dim, 8);
  ASSERT_TRUE(decoder.experts);
  EXPECT_EQ(decoder.experts->num_experts, 128);
  EXPECT_EQ(decoder.experts->num_chosen, 8);
  EXPECT_EQ(decoder.experts->inner, 11);
  EXPECT_FALSE(decoder.experts->renormalize);
  for (const LayerConfig& layer : decoder.layers)
    EXPECT_TRUE(layer.has_experts);
}

TEST_F(ModelFamilyTest, GivesExpertsToTheLayersThatTheConfigNames) {
  const DecoderConfig decoder = defaults_of(
      "qwen3_moe",
      {{"moe_intermediate_size", 11},
       {"num_hidden_layers", 6},
       {"decoder_sparse_step", 2},
       {"mlp_only_layers", {3}}});
  std::vector<bool> has_experts;
  for (const LayerConfig& layer : decoder.layers)
    has_experts.push_back(layer.has_experts);
  EXPECT_THAT(has_experts, ElementsAre(false, true, false, false, false, true));
}

TEST_F(ModelFamilyTest, FillsInTheDefaultsOfPhi3) {
  const DecoderConfig decoder = defaults_of("phi3");
  EXPECT_EQ(decoder.num_kv_heads, 32);
  EXPECT_EQ(decoder.norm_epsilon, 1e-5);
  EXPECT_EQ(decoder.ropes.at(0).rotated, 8);
  EXPECT_THAT(windows(decoder), Each(0));
  EXPECT_FALSE(decoder.qkv_bias);
}

TEST_F(ModelFamilyTest, TakesPhi3sOriginalLengthForLongRope) {
  const std::vector<double> factors{1.0, 2.0, 3.0, 4.0};
  // "su" is what the first files called it.
  for (const char* const type : {"su", "longrope"}) {
    const RopeConfig rope =
        defaults_of(
            "phi3",
            {{"max_position_embeddings", 131072},
             {"rope_scaling",
              {{"type", type}, {"short_factor", factors}, {"long_factor", factors}}}})
            .ropes.at(0);
    EXPECT_EQ(rope.scaling, RopeScaling::LongRope);
    EXPECT_EQ(rope.original_max_positions, 4096);
    EXPECT_EQ(rope.long_factors, factors);
    // sqrt(1 + ln(131072 / 4096) / ln 4096)
    EXPECT_THAT(rope.attention_factor, DoubleEq(std::sqrt(1 + 5.0 / 12.0)));
  }
}

TEST_F(ModelFamilyTest, FillsInTheDefaultsOfStableLm) {
  const DecoderConfig decoder = defaults_of("stablelm", {{"head_dim", 16}});
  EXPECT_EQ(decoder.num_kv_heads, 32);
  EXPECT_EQ(decoder.head_dim, 8);  // the key is none of its
  EXPECT_EQ(decoder.ropes.at(0).rotated, 2);
  EXPECT_EQ(decoder.norm, NormKind::Layer);
  EXPECT_EQ(decoder.norm_epsilon, 1e-5);
  EXPECT_FALSE(decoder.qkv_bias);
  EXPECT_EQ(decoder.head_norm, HeadNormKind::None);
  EXPECT_EQ(decoder.residual, ResidualKind::Sequential);
}

TEST_F(ModelFamilyTest, FillsInTheDefaultsOfGranite) {
  const DecoderConfig decoder = defaults_of("granite");
  EXPECT_EQ(decoder.num_kv_heads, 32);
  EXPECT_EQ(decoder.embedding_scale, 1);
  EXPECT_EQ(decoder.residual_multiplier, 1);
  EXPECT_EQ(decoder.logit_scale, 1);
  for (const LayerConfig& layer : decoder.layers)
    EXPECT_EQ(layer.attention_scale, 1);
}

TEST_F(ModelFamilyTest, FillsInTheDefaultsOfGemma) {
  const DecoderConfig decoder = defaults_of("gemma");
  EXPECT_TRUE(decoder.tied_head);
  EXPECT_EQ(decoder.num_kv_heads, 16);
  EXPECT_EQ(decoder.head_dim, 256);
  EXPECT_EQ(decoder.norm, NormKind::RmsPlusOne);
  EXPECT_EQ(decoder.norm_epsilon, 1e-6);
  EXPECT_EQ(decoder.embedding_scale, 16);
  EXPECT_EQ(decoder.activation, Activation::GeluTanh);
}

TEST_F(ModelFamilyTest, TakesTheTanhFormForWhatGemmasFilesCallGelu) {
  EXPECT_EQ(defaults_of("gemma", {{"hidden_act", "gelu"}}).activation, Activation::GeluTanh);
}

TEST_F(ModelFamilyTest, FillsInTheDefaultsOfGemma2) {
  const DecoderConfig decoder = defaults_of("gemma2", {{"query_pre_attn_scalar", nullptr}});
  EXPECT_TRUE(decoder.tied_head);
  EXPECT_EQ(decoder.num_kv_heads, 4);
  EXPECT_EQ(decoder.head_dim, 256);
  EXPECT_EQ(decoder.attention_softcap, 50);
  EXPECT_EQ(decoder.logit_softcap, 30);
  EXPECT_EQ(decoder.activation, Activation::GeluTanh);
  for (std::size_t i = 0; i < decoder.layers.size(); ++i) {
    EXPECT_EQ(decoder.layers[i].window, i % 2 == 0 ? 4096 : 0);
    EXPECT_EQ(decoder.layers[i].attention_scale, 1 / 16.0);
  }
}

TEST_F(ModelFamilyTest, NullTurnsSoftCappingOff) {
  const DecoderConfig decoder = defaults_of(
      "gemma2", {{"attn_logit_softcapping", nullptr}, {"final_logit_softcapping", nullptr}});
  EXPECT_EQ(decoder.attention_softcap, 0);
  EXPECT_EQ(decoder.logit_softcap, 0);
}

TEST_F(ModelFamilyTest, FillsInTheDefaultsOfGemma3) {
  const DecoderConfig decoder = defaults_of("gemma3_text");
  EXPECT_TRUE(decoder.tied_head);
  EXPECT_EQ(decoder.head_dim, 256);
  EXPECT_EQ(decoder.attention_softcap, 0);
  EXPECT_EQ(decoder.logit_softcap, 0);
  for (std::size_t i = 0; i < decoder.layers.size(); ++i) {
    const bool is_full = i % 6 == 5;
    EXPECT_EQ(decoder.layers[i].window, is_full ? 0 : 4096) << i;
    EXPECT_EQ(decoder.ropes.at(decoder.layers[i].rope).theta, is_full ? 1e6 : 1e4) << i;
  }
}

TEST_F(ModelFamilyTest, LayerTypesDecideWhichLayersHaveAWindow) {
  json types = json::array();
  for (int layer = 0; layer < 30; ++layer)
    types.push_back(layer == 7 ? "sliding_attention" : "full_attention");
  const DecoderConfig decoder = defaults_of("gemma3_text", {{"layer_types", types}});
  std::vector<std::int64_t> expected(30, 0);
  expected[7] = 4096;
  EXPECT_EQ(windows(decoder), expected);
}

TEST_F(ModelFamilyTest, FillsInTheDefaultsOfOlmo2) {
  const DecoderConfig decoder = defaults_of("olmo2");
  EXPECT_EQ(decoder.num_kv_heads, 32);
  EXPECT_EQ(decoder.norm_epsilon, 1e-5);
  EXPECT_EQ(decoder.head_norm, HeadNormKind::AllHeads);
}

TEST_F(ModelFamilyTest, FillsInTheDefaultsOfCohere) {
  const DecoderConfig decoder = defaults_of("cohere");
  EXPECT_TRUE(decoder.tied_head);
  EXPECT_EQ(decoder.num_kv_heads, 32);
  EXPECT_EQ(decoder.ropes.at(0).theta, 500000);
  EXPECT_EQ(decoder.ropes.at(0).pairing, RotaryPairing::Neighbours);
  EXPECT_EQ(decoder.logit_scale, 0.0625);
  EXPECT_EQ(decoder.norm_epsilon, 1e-5);
  EXPECT_EQ(decoder.head_norm, HeadNormKind::None);
  EXPECT_EQ(decoder.residual, ResidualKind::Parallel);
}

TEST_F(ModelFamilyTest, FillsInTheDefaultsOfStarcoder2) {
  const DecoderConfig decoder = defaults_of("starcoder2");
  EXPECT_TRUE(decoder.tied_head);
  EXPECT_EQ(decoder.num_kv_heads, 2);
  EXPECT_TRUE(decoder.qkv_bias);
  EXPECT_TRUE(decoder.mlp_bias);
  EXPECT_EQ(decoder.norm_epsilon, 1e-5);
  EXPECT_EQ(decoder.activation, Activation::GeluTanh);
  EXPECT_THAT(windows(decoder), Each(0));
}

TEST_F(ModelFamilyTest, FillsInTheDefaultsOfGptOss) {
  const DecoderConfig decoder =
      defaults_of("gpt_oss", {{"rope_scaling", {{"rope_type", "yarn"}, {"factor", 32.0}}}});
  EXPECT_EQ(decoder.num_kv_heads, 8);
  EXPECT_EQ(decoder.head_dim, 64);
  EXPECT_EQ(decoder.ropes.at(0).theta, 150000);
  EXPECT_EQ(decoder.norm_epsilon, 1e-5);
  EXPECT_TRUE(decoder.qkv_bias);
  EXPECT_TRUE(decoder.attention_out_bias);
  EXPECT_TRUE(decoder.attention_sinks);
  for (std::size_t i = 0; i < decoder.layers.size(); ++i)
    EXPECT_EQ(decoder.layers[i].window, i % 2 == 0 ? 128 : 0);
}

TEST_F(ModelFamilyTest, FillsInTheDefaultsOfGpt2) {
  const DecoderConfig decoder = defaults_of("gpt2");
  EXPECT_TRUE(decoder.tied_head);
  EXPECT_EQ(decoder.inner, 4 * 256);
  EXPECT_EQ(decoder.max_positions, 1024);
  EXPECT_EQ(decoder.position, PositionKind::Learned);
  EXPECT_EQ(decoder.norm_epsilon, 1e-5);
  EXPECT_EQ(decoder.activation, Activation::GeluTanh);
  for (const LayerConfig& layer : decoder.layers)
    EXPECT_EQ(layer.attention_scale, 1 / std::sqrt(8.0));
}

TEST_F(ModelFamilyTest, ScalesTheScoresOfGpt2AsItsConfigSays) {
  const DecoderConfig unscaled = defaults_of("gpt2", {{"scale_attn_weights", false}});
  EXPECT_EQ(unscaled.layers.at(3).attention_scale, 1);
  const DecoderConfig by_layer = defaults_of("gpt2", {{"scale_attn_by_inverse_layer_idx", true}});
  EXPECT_THAT(by_layer.layers.at(3).attention_scale, DoubleEq(1 / std::sqrt(8.0) / 4));
}

TEST_F(ModelFamilyTest, FillsInTheDefaultsOfGptJ) {
  const DecoderConfig decoder = defaults_of("gptj", {{"n_head", 4}});
  EXPECT_FALSE(decoder.tied_head);
  EXPECT_EQ(decoder.inner, 4 * 256);
  EXPECT_EQ(decoder.ropes.at(0).rotated, 64);
  EXPECT_EQ(decoder.ropes.at(0).theta, 10000);
  EXPECT_EQ(decoder.ropes.at(0).pairing, RotaryPairing::Neighbours);
  EXPECT_EQ(decoder.norm_epsilon, 1e-5);
  EXPECT_EQ(decoder.residual, ResidualKind::Parallel);
}

TEST_F(ModelFamilyTest, FillsInTheDefaultsOfGptNeoX) {
  const DecoderConfig decoder = defaults_of("gpt_neox");
  EXPECT_FALSE(decoder.tied_head);
  EXPECT_EQ(decoder.ropes.at(0).rotated, 2);
  EXPECT_EQ(decoder.residual, ResidualKind::Parallel);
  EXPECT_TRUE(decoder.qkv_bias);
  EXPECT_EQ(decoder.activation, Activation::Gelu);
  EXPECT_EQ(decoder.norm_epsilon, 1e-5);
}

TEST_F(ModelFamilyTest, ReadsBothSpellingsOfGptNeoXsRotaryPositionsAlike) {
  const RopeConfig older =
      defaults_of("gpt_neox", {{"rotary_pct", 0.5}, {"rotary_emb_base", 5000}}).ropes.at(0);
  const RopeConfig newer =
      defaults_of(
          "gpt_neox",
          {{"rope_parameters",
            {{"rope_type", "default"}, {"partial_rotary_factor", 0.5}, {"rope_theta", 5000}}}})
          .ropes.at(0);
  for (const RopeConfig& rope : {older, newer}) {
    EXPECT_EQ(rope.rotated, 4);
    EXPECT_EQ(rope.theta, 5000);
  }
}

TEST_F(ModelFamilyTest, FillsInTheDefaultsOfOpt) {
  const DecoderConfig decoder = defaults_of("opt");
  EXPECT_TRUE(decoder.tied_head);
  EXPECT_EQ(decoder.embedding_width, decoder.hidden);
  EXPECT_EQ(decoder.position, PositionKind::Learned);
  EXPECT_EQ(decoder.position_offset, 2);
  EXPECT_EQ(decoder.residual, ResidualKind::Sequential);
  EXPECT_TRUE(decoder.final_norm);
  EXPECT_TRUE(decoder.qkv_bias);
  EXPECT_TRUE(decoder.mlp_bias);
  EXPECT_TRUE(decoder.norm_weights);
  EXPECT_EQ(decoder.norm_epsilon, 1e-5);
  EXPECT_EQ(decoder.activation, Activation::Relu);
}

TEST_F(ModelFamilyTest, FillsInTheDefaultsOfBloom) {
  const DecoderConfig decoder = defaults_of("bloom");
  EXPECT_TRUE(decoder.tied_head);
  EXPECT_EQ(decoder.inner, 4 * 256);
  EXPECT_EQ(decoder.max_positions, 0);
  EXPECT_EQ(decoder.position, PositionKind::Alibi);
  EXPECT_EQ(decoder.alibi, AlibiKind::Bloom);
  EXPECT_EQ(decoder.residual, ResidualKind::Sequential);
  EXPECT_EQ(decoder.norm_epsilon, 1e-5);
}

TEST_F(ModelFamilyTest, FillsInTheDefaultsOfFalcon) {
  const ModelConfig model = load_text(family_config("falcon").dump());
  const DecoderConfig& decoder = model.decoder;
  EXPECT_TRUE(decoder.tied_head);
  EXPECT_EQ(decoder.num_kv_heads, 1);
  EXPECT_EQ(decoder.inner, 4 * 256);
  EXPECT_EQ(decoder.position, PositionKind::Rotary);
  EXPECT_EQ(decoder.residual, ResidualKind::Parallel);
  EXPECT_FALSE(decoder.qkv_bias);
  EXPECT_EQ(decoder.activation, Activation::Gelu);
  EXPECT_EQ(model.names.qkv_layout, QkvLayout::Concatenated);
  EXPECT_EQ(model.names.mlp_in_norm, model.names.attention_in_norm);
}

TEST_F(ModelFamilyTest, FillsInTheDefaultsOfFalconsNewArchitecture) {
  json config = family_config("falcon");
  config["new_decoder_architecture"] = true;
  const ModelConfig model = load_text(config.dump());
  EXPECT_EQ(model.decoder.num_kv_heads, 32);
  EXPECT_EQ(model.names.qkv_layout, QkvLayout::Grouped);
  EXPECT_EQ(model.names.attention_in_norm, "ln_attn");
  EXPECT_EQ(model.names.mlp_in_norm, "ln_mlp");
  config["num_ln_in_parallel_attn"] = 1;
  const ModelConfig one_norm = load_text(config.dump());
  EXPECT_EQ(one_norm.names.attention_in_norm, "input_layernorm");
  EXPECT_EQ(one_norm.names.mlp_in_norm, "input_layernorm");
}

TEST_F(ModelFamilyTest, FillsInTheDefaultsOfPhi) {
  const DecoderConfig decoder = defaults_of("phi");
  EXPECT_FALSE(decoder.tied_head);
  EXPECT_EQ(decoder.num_kv_heads, 32);
  EXPECT_EQ(decoder.ropes.at(0).rotated, 4);
  EXPECT_EQ(decoder.head_norm, HeadNormKind::None);
  EXPECT_EQ(decoder.norm_epsilon, 1e-5);
  EXPECT_EQ(decoder.activation, Activation::GeluTanh);
}

TEST_P(ModelFamilyRefusalTest, NamesTheKey) {
  EXPECT_EQ(refusal_of(GetParam().keys), GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    Keys,
    ModelFamilyRefusalTest,
    testing::Values(
        Refusal{"UnknownModelType", {{"model_type", "mamba"}}, std::string(kOneOfThem) + ": mamba"},
        Refusal{"NoModelType", {{"model_type", nullptr}}, std::string(kOneOfThem) + ": "},
        Refusal{"ModelTypeOfNoText", {{"model_type", 7}}, "model_type must be a string: 7"},
        Refusal{
            "MissingSize",
            {{"hidden_size", nullptr}},
            "hidden_size is missing; fetch the checkpoint's config.json again"},
        Refusal{
            "NegativeSize",
            {{"num_hidden_layers", -2}},
            "num_hidden_layers must be a whole number of at least 1: -2"},
        Refusal{
            "ZeroSize", {{"vocab_size", 0}}, "vocab_size must be a whole number of at least 1: 0"},
        Refusal{
            "FractionalSize",
            {{"vocab_size", 131.5}},
            "vocab_size must be a whole number of at least 1: 131.5"},
        Refusal{
            "TextForASize",
            {{"intermediate_size", "84"}},
            "intermediate_size must be a whole number of at least 1: \"84\""},
        Refusal{
            "HeadsThatDoNotDivide",
            {{"num_key_value_heads", 3}},
            "num_key_value_heads must divide num_attention_heads"},
        Refusal{
            "OddHeadDim",
            {{"head_dim", 5}},
            "head_dim must be even, for rotary positions pair dimensions"},
        Refusal{
            "OddHeadDimOfTheSizes",
            {{"hidden_size", 36}},
            "head_dim must be even, for rotary positions pair dimensions"},
        Refusal{
            "MoreHeadsThanDimensions",
            {{"num_attention_heads", 50}},
            "head_dim must be even, for rotary positions pair dimensions"},
        Refusal{
            "Activation",
            {{"hidden_act", "mish"}},
            "hidden_act is not supported, expected silu, gelu, gelu_new or relu: mish"},
        Refusal{
            "Quantization",
            {{"quantization_config", {{"bits", 4}}}},
            "quantization_config is not supported; use a checkpoint that is not quantized"},
        Refusal{"NoFlag", {{"attention_bias", 1}}, "attention_bias must be true or false: 1"},
        Refusal{
            "NoEpsilon",
            {{"rms_norm_eps", 0.0}},
            "rms_norm_eps must be a number greater than 0: 0.0"},
        Refusal{"NoObject", {{"rope_scaling", "yarn"}}, "rope_scaling must be an object: \"yarn\""},
        Refusal{
            "UnknownRopeType",
            {{"rope_scaling", {{"rope_type", "spiral"}, {"factor", 2.0}}}},
            "rope_scaling.rope_type is not supported, expected default, linear, llama3, yarn or "
            "longrope: spiral"},
        Refusal{
            "DynamicRope",
            {{"rope_scaling", {{"type", "dynamic"}, {"factor", 2.0}}}},
            "rope_scaling.type is not supported, expected default, linear, llama3, yarn or "
            "longrope: dynamic"},
        Refusal{
            "LongRopeWithTooFewFactors",
            {{"rope_parameters",
              {{"rope_type", "longrope"},
               {"short_factor", {1.0, 1.0, 1.0, 1.0, 1.0}},
               {"long_factor", {1.0, 2.0}}}}},
            "rope_parameters.long_factor must have 5 numbers, one for each pair of dimensions: 2"},
        Refusal{
            "LongRopeWithoutFactors",
            {{"rope_parameters", {{"rope_type", "longrope"}, {"long_factor", {1.0, 2.0}}}}},
            "rope_parameters.short_factor must have 5 numbers, one for each pair of dimensions: "
            "0"},
        Refusal{
            "LongRopeOfTexts",
            {{"rope_scaling", {{"type", "longrope"}, {"short_factor", {"1", "2"}}}}},
            "rope_scaling.short_factor must be a list of numbers"},
        Refusal{
            "BidirectionalGemma",
            {{"model_type", "gemma"},
             {"use_bidirectional_attention", true},
             {"num_key_value_heads", 1}},
            "use_bidirectional_attention is not supported: limn explains causal models"},
        Refusal{
            "BidirectionalGemma2",
            {{"model_type", "gemma2"}, {"use_bidirectional_attention", true}},
            "use_bidirectional_attention is not supported: limn explains causal models"},
        Refusal{
            "BidirectionalGemma3",
            {{"model_type", "gemma3_text"}, {"use_bidirectional_attention", true}},
            "use_bidirectional_attention is not supported: limn explains causal models"},
        Refusal{
            "UnknownLayerType",
            {{"model_type", "gemma2"}, {"layer_types", {"full_attention", "chunked_attention"}}},
            "layer_types has an unsupported layer: chunked_attention"},
        Refusal{
            "TooFewLayerTypes",
            {{"model_type", "gemma2"}, {"layer_types", json::array({"full_attention"})}},
            "layer_types must have one entry for each layer"},
        Refusal{
            "LayerTypesOfNumbers",
            {{"model_type", "gemma2"}, {"layer_types", {1, 2}}},
            "layer_types must be a list of strings"},
        Refusal{
            "HeadsThatTheDefaultDoesNotDivide",
            {{"model_type", "mistral"}},
            "num_key_value_heads must divide num_attention_heads"},
        Refusal{
            "GptOssWithoutScaling",
            {{"model_type", "gpt_oss"}, {"num_key_value_heads", 2}},
            "rope_scaling is missing; fetch the checkpoint's config.json again"},
        Refusal{
            "SizesInAnotherFamilysSpelling",
            {{"model_type", "gpt2"}},
            "n_embd is missing; fetch the checkpoint's config.json again"},
        Refusal{
            "MoreGptHeadsThanDimensions",
            {{"model_type", "gpt2"}, {"n_embd", 40}, {"n_head", 41}, {"n_layer", 2}},
            "num_attention_heads must be at most hidden_size"},
        Refusal{
            "MoreRotatedThanTheHeadHas",
            {{"model_type", "gptj"}, {"n_embd", 40}, {"n_head", 4}, {"n_layer", 2}},
            "rotary_dim must be even and at most 10, the width of a head: 64"},
        Refusal{
            "MoreChosenExpertsThanThereAre",
            {{"model_type", "mixtral"},
             {"num_key_value_heads", 2},
             {"num_local_experts", 3},
             {"num_experts_per_tok", 4}},
            "num_experts_per_tok must be at most the number of experts, 3: 4"},
        Refusal{
            "RopeWithoutFactor",
            {{"rope_scaling", {{"rope_type", "linear"}}}},
            "rope_scaling.factor is missing; fetch the checkpoint's config.json again"},
        Refusal{
            "NegativeFactor",
            {{"rope_scaling", {{"rope_type", "linear"}, {"factor", -1}}}},
            "rope_scaling.factor must be a number greater than 0: -1"}),
    [](const auto& refusal) { return refusal.param.name; });

TEST_F(ModelFamilyTest, RefusesAConfigThatIsNoObject) {
  EXPECT_EQ(
      message_of<DataError>([&] { load_text("[1]"); }), file().string() + ": expected an object");
}

TEST_F(ModelFamilyTest, RefusesAConfigThatIsNoJson) {
  EXPECT_THAT(
      message_of<DataError>([&] { load_text("{\"model_type\": }"); }),
      testing::AllOf(StartsWith(file().string() + ":1:"), HasSubstr("is not JSON")));
}

TEST_F(ModelFamilyTest, SaysWhichFileIsMissing) {
  EXPECT_THAT(
      message_of<IoError>([&] { load_model_config(folder_.path()); }),
      StartsWith(file().string() + ": "));
}

}  // namespace limn::test
