#include "worker/model_family.h"

#include <cmath>
#include <string>

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

  // What is said about it, without the file's name in front.
  std::string refusal_of(const json& keys) const {
    const std::string message = message_of<DataError>([&] { load_with(keys); });
    EXPECT_THAT(message, StartsWith(file().string() + ": "));
    return message.substr(std::min(message.size(), file().string().size() + 2));
  }

  // Of a config whose scaled rotary positions are these.
  RopeConfig rope_of(const json& scaling) const {
    return load_with({{"rope_scaling", scaling}, {"max_position_embeddings", 4096}}).rope;
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
  EXPECT_EQ(decoder.num_layers, 2);
  EXPECT_EQ(decoder.num_heads, 4);
  EXPECT_EQ(decoder.num_kv_heads, 4);
  EXPECT_EQ(decoder.head_dim, 10);
  EXPECT_EQ(decoder.max_positions, 2048);
  EXPECT_EQ(decoder.norm_epsilon, 1e-6);
  EXPECT_EQ(decoder.rope.theta, 10000);
  EXPECT_EQ(decoder.rope.scaling, RopeScaling::None);
  EXPECT_EQ(decoder.rope.attention_factor, 1);
  EXPECT_FALSE(decoder.attention_bias);
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
  EXPECT_EQ(decoder.rope.theta, 500000);
  EXPECT_TRUE(decoder.attention_bias);
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
  EXPECT_EQ(model.names.embedding, "model.embed_tokens");
  EXPECT_EQ(
      fmt::format(fmt::runtime(model.names.layer_prefix), 7) + std::string(model.names.query),
      "model.layers.7.self_attn.q_proj");
}

TEST_F(ModelFamilyTest, ReadsBothSpellingsOfScaledRotaryPositionsAlike) {
  json scaling = llama3_scaling();
  scaling["type"] = "llama3";
  const RopeConfig older = load_with({{"rope_theta", 500000.0}, {"rope_scaling", scaling}}).rope;
  scaling.erase("type");
  scaling["rope_type"] = "llama3";
  scaling["rope_theta"] = 500000.0;
  const RopeConfig newer = load_with({{"rope_parameters", scaling}}).rope;
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
  EXPECT_EQ(load_with({{"rope_theta", 5e5}, {"rope_parameters", parameters}}).rope.theta, 5e5);
}

TEST_F(ModelFamilyTest, PrefersTheOlderSpellingWhereThereAreBoth) {
  const json newer = {{"rope_type", "linear"}, {"factor", 2.0}, {"rope_theta", 5e5}};
  const json older = {{"rope_type", "linear"}, {"factor", 4.0}};
  const RopeConfig rope = load_with({{"rope_parameters", newer}, {"rope_scaling", older}}).rope;
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
  const RopeConfig rope = load_with({{"rope_scaling", {{"type", "yarn"}, {"factor", 4.0}}}}).rope;
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
      load_with({{"original_max_position_embeddings", 2048}, {"rope_scaling", scaling}}).rope;
  EXPECT_EQ(rope.original_max_positions, 2048);
}

TEST_P(ModelFamilyRefusalTest, NamesTheKey) {
  EXPECT_EQ(refusal_of(GetParam().keys), GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    Keys,
    ModelFamilyRefusalTest,
    testing::Values(
        Refusal{
            "UnknownModelType",
            {{"model_type", "mamba"}},
            "model_type is not supported, expected llama: mamba"},
        Refusal{
            "NoModelType",
            {{"model_type", nullptr}},
            "model_type is not supported, expected llama: "},
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
            {{"hidden_act", "gelu"}},
            "hidden_act is not supported, expected silu: gelu"},
        Refusal{
            "Quantization",
            {{"quantization_config", {{"bits", 4}}}},
            "quantization_config is not supported by this version of limn"},
        Refusal{
            "SlidingWindow",
            {{"sliding_window", 4096}},
            "sliding_window is not supported by this version of limn"},
        Refusal{"NoFlag", {{"attention_bias", 1}}, "attention_bias must be true or false: 1"},
        Refusal{
            "NoEpsilon",
            {{"rms_norm_eps", 0.0}},
            "rms_norm_eps must be a number greater than 0: 0.0"},
        Refusal{"NoObject", {{"rope_scaling", "yarn"}}, "rope_scaling must be an object: \"yarn\""},
        Refusal{
            "UnknownRopeType",
            {{"rope_scaling", {{"rope_type", "spiral"}, {"factor", 2.0}}}},
            "rope_scaling.rope_type is not supported, expected default, linear, llama3 or yarn: "
            "spiral"},
        Refusal{
            "DynamicRope",
            {{"rope_scaling", {{"type", "dynamic"}, {"factor", 2.0}}}},
            "rope_scaling.type is not supported, expected default, linear, llama3 or yarn: "
            "dynamic"},
        Refusal{
            "LongRopeWhichHasNoFactor",
            {{"rope_parameters", {{"rope_type", "longrope"}, {"long_factor", {1.0, 2.0}}}}},
            "rope_parameters.rope_type is not supported, expected default, linear, llama3 or "
            "yarn: longrope"},
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
