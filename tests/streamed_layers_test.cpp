// Layers that are read while others compute, against the same layers in memory.

#include "worker/streamed_layers.h"

#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "sharding/local_communicator.h"
#include "sharding/process_mesh.h"
#include "storage/checkpoint.h"
#include "storage/error.h"
#include "storage/json_file.h"
#include "tests/golden.h"
#include "tests/messages.h"
#include "tests/temporary_folder.h"
#include "worker/decoder_weights.h"
#include "worker/model_family.h"
#include "worker/sweep.h"

namespace limn::test {

namespace {

using testing::HasSubstr;

class StreamedLayersTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (ranks->size() > model.decoder.num_heads) GTEST_SKIP() << "more ranks than heads";
  }

  const std::filesystem::path folder = test_data() / "golden" / GetParam();
  const nlohmann::json golden = read_json(folder / "golden.json");
  const ModelConfig model = load_model_config(folder);
  const Checkpoint checkpoint{folder};
  const Batch batch{0, {piece_of(golden)}};
  std::unique_ptr<Communicator> ranks = world_communicator();
};

// A checkpoint of our own, to do things to, on one rank.
class StreamedFileTest : public testing::Test {
 protected:
  static constexpr std::size_t kNumLayers = 3;

  void SetUp() override {
    // Gemma 2: three layers, a tied head.
    const std::filesystem::path source = test_data() / "golden" / "gemma2";
    for (const char* const name : {"config.json", "model.safetensors"})
      std::filesystem::copy_file(source / name, folder_ / name);
    model_ = load_model_config(folder_.path());
    ASSERT_EQ(model_.decoder.layers.size(), kNumLayers);
  }

  std::filesystem::path file() const { return folder_ / "model.safetensors"; }

  TemporaryFolder folder_;
  ModelConfig model_;
  LocalCommunicator alone_;
};

// All matrices and vectors of a layer with one dense MLP and norms on all sides.
std::vector<at::Tensor> tensors_of(const LayerWeights& layer) {
  const Mlp& mlp = std::get<Mlp>(layer.mlp);
  return {
      layer.attention_in_norm->weight,
      layer.attention.query_key_value.weight,
      layer.attention.out.weight,
      layer.attention_out_norm->weight,
      layer.mlp_in_norm->weight,
      mlp.up.weight,
      mlp.down.weight,
      layer.mlp_out_norm->weight};
}

}  // namespace

TEST_P(StreamedLayersTest, GiveTheSameBitsAsLayersInMemorySweepAfterSweep) {
  const at::ScalarType stored = stored_dtype(checkpoint, model);
  for (const at::ScalarType dtype : {stored, at::kFloat, at::kBFloat16}) {
    const DecoderWeights resident = load_decoder_weights(checkpoint, model, *ranks, dtype);
    const DecoderWeights around =
        load_decoder_weights(checkpoint, model, *ranks, dtype, at::kCPU, WeightPlacement::Streamed);
    EXPECT_TRUE(around.layers.empty());
    StreamedLayers layers(checkpoint, model, *ranks, dtype);
    for (const SweepCompute compute :
         {SweepCompute::Float32, SweepCompute::Bfloat16, SweepCompute::Bfloat16Delta}) {
      const BatchResult expected = SweepEngine(model.decoder, resident, {}, compute).run(batch);
      SweepEngine engine(model.decoder, around, layers, {}, compute);
      EXPECT_EQ(engine.run(batch), expected) << name_of(compute);
      EXPECT_EQ(engine.run(batch), expected) << name_of(compute) << ", again";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Families, StreamedLayersTest, testing::ValuesIn(golden_folders()), [](const auto& parameter) {
      return parameter.param;
    });

TEST_F(StreamedFileTest, LayersAreReadOnceForEachSweepAndOneAhead) {
  const Checkpoint checkpoint(folder_.path());
  StreamedLayers layers(checkpoint, model_, alone_, at::kFloat);
  for (int sweep = 0; sweep < 3; ++sweep) {
    for (std::size_t l = 0; l < kNumLayers; ++l)
      layers.layer(l);
  }
  const auto num_read = static_cast<std::size_t>(layers.times().num_layers);
  // The next one is read or under way.
  EXPECT_GE(num_read, 3 * kNumLayers);
  EXPECT_LE(num_read, 3 * kNumLayers + 1);
}

// Memory is taken up again, but not under the hands of who holds a layer.
TEST_F(StreamedFileTest, ALayerStaysWhatItIsWhileItIsHeld) {
  const Checkpoint checkpoint(folder_.path());
  const DecoderWeights resident = load_decoder_weights(checkpoint, model_, alone_, at::kFloat);
  StreamedLayers layers(checkpoint, model_, alone_, at::kFloat);
  std::vector<LayerWeights> held;
  for (int sweep = 0; sweep < 2; ++sweep) {
    for (std::size_t l = 0; l < kNumLayers; ++l)
      held.push_back(layers.layer(l));
  }
  for (std::size_t i = 0; i < held.size(); ++i) {
    const std::vector<at::Tensor> expected = tensors_of(resident.layers[i % kNumLayers]);
    const std::vector<at::Tensor> got = tensors_of(held[i]);
    for (std::size_t t = 0; t < expected.size(); ++t)
      EXPECT_TRUE(at::equal(got[t], expected[t])) << "layer " << i << ", tensor " << t;
  }
}

TEST_F(StreamedFileTest, MemoryOfALayerThatWasLetGoIsTakenUpAgain) {
  const Checkpoint checkpoint(folder_.path());
  StreamedLayers layers(checkpoint, model_, alone_, at::kFloat);
  std::set<const void*> addresses;
  for (int sweep = 0; sweep < 4; ++sweep) {
    for (std::size_t l = 0; l < kNumLayers; ++l)
      addresses.insert(layers.layer(l).attention.out.weight.const_data_ptr());
  }
  EXPECT_EQ(addresses.size(), 2);
}

TEST_F(StreamedFileTest, CanBeDroppedAtAnyTime) {
  const Checkpoint checkpoint(folder_.path());
  for (std::size_t num_taken = 0; num_taken <= kNumLayers + 1; ++num_taken) {
    StreamedLayers layers(checkpoint, model_, alone_, at::kFloat);
    for (std::size_t i = 0; i < num_taken; ++i)
      layers.layer(i % kNumLayers);
  }
}

TEST_F(StreamedFileTest, RefusesLayersOutOfOrder) {
  const Checkpoint checkpoint(folder_.path());
  StreamedLayers layers(checkpoint, model_, alone_, at::kFloat);
  layers.layer(0);
  EXPECT_THAT(
      message_of<InternalError>([&] { layers.layer(0); }),
      HasSubstr("a layer out of order: 0 instead of 1"));
  layers.layer(1);
}

TEST_F(StreamedFileTest, AFileThatIsCutWhileLayersStreamEndsTheSweepAndSaysWhy) {
  const Checkpoint checkpoint(folder_.path());
  const auto size = std::filesystem::file_size(file());
  StreamedLayers layers(checkpoint, model_, alone_, at::kFloat);
  layers.layer(0);
  std::filesystem::resize_file(file(), size / 2);
  const auto read_all = [&] {
    for (std::size_t l = 1; l <= 3 * kNumLayers; ++l)
      layers.layer(l % kNumLayers);
  };
  EXPECT_THAT(
      message_of<IoError>(read_all),
      HasSubstr("model.safetensors: has become shorter since it was opened"));
}

// It is still there for who has it open.
TEST_F(StreamedFileTest, AFileThatIsRemovedWhileLayersStreamIsReadToTheEnd) {
  const Checkpoint checkpoint(folder_.path());
  const DecoderWeights resident = load_decoder_weights(checkpoint, model_, alone_, at::kFloat);
  StreamedLayers layers(checkpoint, model_, alone_, at::kFloat);
  std::filesystem::remove(file());
  for (int sweep = 0; sweep < 2; ++sweep) {
    for (std::size_t l = 0; l < kNumLayers; ++l) {
      EXPECT_TRUE(
          at::equal(layers.layer(l).attention.out.weight, resident.layers[l].attention.out.weight));
    }
  }
}

TEST_F(StreamedFileTest, WhatIsWrongWithALayerIsFoundBeforeAnyIsRead) {
  ModelConfig wider = model_;
  wider.decoder.inner += 1;
  const Checkpoint checkpoint(folder_.path());
  const auto refusal = [&](WeightPlacement placement) {
    return message_of<DataError>(
        [&] { load_decoder_weights(checkpoint, wider, alone_, at::kFloat, at::kCPU, placement); });
  };
  EXPECT_THAT(refusal(WeightPlacement::Streamed), HasSubstr("model.layers.0.mlp.gate_proj.weight"));
  EXPECT_EQ(refusal(WeightPlacement::Streamed), refusal(WeightPlacement::Resident));
}

}  // namespace limn::test
