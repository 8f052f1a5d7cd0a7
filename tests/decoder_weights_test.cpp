#include "worker/decoder_weights.h"

#include <algorithm>
#include <string>
#include <variant>
#include <vector>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sharding/local_communicator.h"
#include "storage/error.h"
#include "tests/messages.h"
#include "tests/safetensors_writer.h"
#include "tests/temporary_folder.h"

namespace limn::test {

namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kConfig = R"({
  "model_type": "llama", "vocab_size": 7, "hidden_size": 4, "intermediate_size": 3,
  "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1 })";

// The tensors of that config, their values counting on from a start of their own.
std::vector<FloatTensor> example_tensors() {
  std::vector<FloatTensor> tensors;
  const auto add = [&](const std::string& name, std::vector<std::int64_t> shape) {
    FloatTensor& tensor = tensors.emplace_back(FloatTensor{name + ".weight", std::move(shape), {}});
    const auto first = static_cast<float>(100 * tensors.size());
    std::int64_t numel = 1;
    for (const std::int64_t size : tensor.shape)
      numel *= size;
    for (std::int64_t i = 0; i < numel; ++i)
      tensor.values.push_back(first + static_cast<float>(i));
  };
  add("model.embed_tokens", {7, 4});
  for (const std::string layer : {"model.layers.0.", "model.layers.1."}) {
    add(layer + "input_layernorm", {4});
    add(layer + "self_attn.q_proj", {4, 4});
    add(layer + "self_attn.k_proj", {2, 4});
    add(layer + "self_attn.v_proj", {2, 4});
    add(layer + "self_attn.o_proj", {4, 4});
    add(layer + "post_attention_layernorm", {4});
    add(layer + "mlp.gate_proj", {3, 4});
    add(layer + "mlp.up_proj", {3, 4});
    add(layer + "mlp.down_proj", {4, 3});
  }
  add("model.norm", {4});
  add("lm_head", {7, 4});
  return tensors;
}

const Mlp& mlp_of(const LayerWeights& layer) {
  return std::get<Mlp>(layer.mlp);
}

class DecoderWeightsTest : public testing::Test {
 protected:
  FloatTensor& tensor(const std::string& name) {
    return *std::ranges::find(tensors_, name, &FloatTensor::name);
  }

  void remove(const std::string& name) {
    std::erase_if(tensors_, [&](const FloatTensor& one) { return one.name == name; });
  }

  at::Tensor stored(const std::string& name) {
    const FloatTensor& one = tensor(name);
    return at::tensor(at::ArrayRef<float>(one.values)).view(one.shape);
  }

  // Writes the tensors and reads them as the only rank.
  DecoderWeights load(bool tied_head = false, std::size_t alignment = 0) {
    write_bytes(folder_ / "config.json", kConfig);
    write_bytes(folder_ / "model.safetensors", safetensors(tensors_, alignment));
    ModelConfig model = load_model_config(folder_.path());
    model.decoder.tied_head = tied_head;
    return load_decoder_weights(Checkpoint(folder_.path()), model, alone_, at::kFloat);
  }

  std::string refusal() {
    return message_of<DataError>([&] { load(); });
  }

  TemporaryFolder folder_;
  LocalCommunicator alone_;
  std::vector<FloatTensor> tensors_ = example_tensors();
};

}  // namespace

TEST_F(DecoderWeightsTest, PutsEveryTensorInItsPlace) {
  const DecoderWeights weights = load();
  EXPECT_TRUE(at::equal(weights.embedding.weight, stored("model.embed_tokens.weight")));
  EXPECT_TRUE(at::equal(weights.final_norm->weight, stored("model.norm.weight")));
  EXPECT_TRUE(at::equal(weights.head.weight, stored("lm_head.weight")));
  ASSERT_EQ(weights.layers.size(), 2U);
  for (const int layer : {0, 1}) {
    const auto of_layer = [&](const char* name) {
      return stored(fmt::format("model.layers.{}.{}.weight", layer, name));
    };
    const LayerWeights& got = weights.layers[static_cast<std::size_t>(layer)];
    EXPECT_TRUE(at::equal(got.attention_in_norm->weight, of_layer("input_layernorm")));
    EXPECT_TRUE(at::equal(
        got.attention.query_key_value.weight,
        at::cat(
            {of_layer("self_attn.q_proj"),
             of_layer("self_attn.k_proj"),
             of_layer("self_attn.v_proj")})));
    EXPECT_TRUE(at::equal(got.attention.out.weight, of_layer("self_attn.o_proj")));
    EXPECT_TRUE(at::equal(got.mlp_in_norm->weight, of_layer("post_attention_layernorm")));
    EXPECT_TRUE(at::equal(
        mlp_of(got).up.weight, at::cat({of_layer("mlp.gate_proj"), of_layer("mlp.up_proj")})));
    EXPECT_TRUE(at::equal(mlp_of(got).down.weight, of_layer("mlp.down_proj")));
    EXPECT_FALSE(got.attention.query_key_value.bias.defined());
    EXPECT_FALSE(mlp_of(got).down.bias.defined());
  }
}

TEST_F(DecoderWeightsTest, OutliveTheCheckpoint) {
  const DecoderWeights weights = load();
  // Whoever still looked into the mapped file would see this, or die.
  write_bytes(folder_ / "model.safetensors", "");
  EXPECT_TRUE(at::equal(weights.final_norm->weight, stored("model.norm.weight")));
}

TEST_F(DecoderWeightsTest, ReadsDataThatIsNotAligned) {
  for (const std::size_t alignment : {1, 2, 3, 4, 7}) {
    const DecoderWeights weights = load(/*tied_head=*/false, alignment);
    EXPECT_TRUE(at::equal(weights.embedding.weight, stored("model.embed_tokens.weight")));
    EXPECT_TRUE(at::equal(
        mlp_of(weights.layers[1]).down.weight, stored("model.layers.1.mlp.down_proj.weight")));
  }
}

TEST_F(DecoderWeightsTest, UsesTheEmbeddingForATiedHead) {
  remove("lm_head.weight");
  EXPECT_TRUE(at::equal(load(/*tied_head=*/true).head.weight, stored("model.embed_tokens.weight")));
}

TEST_F(DecoderWeightsTest, UsesAStoredHeadEvenWhereTheConfigTiesIt) {
  EXPECT_TRUE(at::equal(load(/*tied_head=*/true).head.weight, stored("lm_head.weight")));
}

TEST_F(DecoderWeightsTest, IgnoresRotaryFrequenciesOfOlderFiles) {
  tensors_.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq", {1}, {1.0F}});
  EXPECT_NO_THROW(load());
}

TEST_F(DecoderWeightsTest, NamesATensorThatIsMissing) {
  remove("model.layers.1.mlp.up_proj.weight");
  EXPECT_EQ(
      refusal(),
      folder_.path().string() +
          ": the tensors are not those of a plain model of config.json's model_type; fetch the "
          "checkpoint again: 1 in all: "
          "model.layers.1.mlp.up_proj.weight is missing");
}

TEST_F(DecoderWeightsTest, NamesTheHeadWhereNothingStandsInForIt) {
  remove("lm_head.weight");
  EXPECT_THAT(refusal(), EndsWith("1 in all: lm_head.weight is missing"));
}

TEST_F(DecoderWeightsTest, NamesATensorOfAnotherShape) {
  tensor("model.layers.0.self_attn.k_proj.weight").shape = {4, 2};
  EXPECT_THAT(
      refusal(),
      EndsWith("1 in all: model.layers.0.self_attn.k_proj.weight is [4, 2], expected [2, 4]"));
}

TEST_F(DecoderWeightsTest, NamesEverythingThatIsWrongAtOnce) {
  remove("model.norm.weight");
  tensor("lm_head.weight").shape = {28};
  tensors_.push_back({"adapter", {1}, {0.0F}});
  EXPECT_THAT(
      refusal(),
      EndsWith("3 in all: model.norm.weight is missing; lm_head.weight is [28], expected [7, 4]; "
               "adapter is not expected"));
}

TEST_F(DecoderWeightsTest, NamesTenOfManyAndTheirNumber) {
  std::erase_if(
      tensors_, [](const FloatTensor& one) { return one.name.starts_with("model.layers."); });
  const std::string message = refusal();
  EXPECT_THAT(
      message, HasSubstr(": 18 in all: model.layers.0.input_layernorm.weight is missing; "));
  EXPECT_THAT(message, EndsWith("; model.layers.1.input_layernorm.weight is missing; ..."));
  EXPECT_EQ(std::ranges::count(message, ';'), 1 + 10);
}

TEST_F(DecoderWeightsTest, NamesATensorThatTheConfigDoesNotExplain) {
  tensors_.push_back({"model.layers.0.self_attn.q_norm.weight", {2}, {1.0F, 1.0F}});
  EXPECT_THAT(
      refusal(), EndsWith("1 in all: model.layers.0.self_attn.q_norm.weight is not expected"));
}

TEST_F(DecoderWeightsTest, NamesTenOfManyUnexplainedTensorsAndTheirNumber) {
  for (int i = 0; i < 11; ++i)
    tensors_.push_back({fmt::format("adapter.{:02}", i), {1}, {0.0F}});
  const std::string message = refusal();
  EXPECT_THAT(message, HasSubstr(": 11 in all: adapter.00 is not expected; "));
  EXPECT_THAT(message, EndsWith("; adapter.09 is not expected; ..."));
  EXPECT_THAT(message, Not(HasSubstr("adapter.10")));
}

TEST_F(DecoderWeightsTest, RefusesABiasThatTheConfigDoesNotHave) {
  tensors_.push_back({"model.layers.0.mlp.down_proj.bias", {4}, {0, 0, 0, 0}});
  EXPECT_THAT(refusal(), EndsWith("1 in all: model.layers.0.mlp.down_proj.bias is not expected"));
}

}  // namespace limn::test
