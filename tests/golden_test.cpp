// Log-probabilities and deltas of real checkpoints' shapes against transformers in float64.
// tests/data/golden/README.md says how the answers were made.

#include "tests/golden.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "sharding/process_mesh.h"
#include "storage/checkpoint.h"
#include "storage/json_file.h"
#include "worker/decoder_weights.h"
#include "worker/model_family.h"
#include "worker/sweep.h"

namespace limn::test {

namespace {

constexpr double kTolerance = 2e-4;
// Of the delta form, root mean square relative to the deltas'. Weights that are stored as float32
// are rounded: 0.004 to 0.012 were measured. With experts 0.04, for nearly tied ones change places.
constexpr double kDifferenceTolerance = 0.03;
constexpr double kExpertsDifferenceTolerance = 0.12;

class GoldenTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (ranks->size() > model.decoder.num_heads) GTEST_SKIP() << "more ranks than heads";
  }

  DecoderWeights weights_kept_as(at::ScalarType dtype) {
    return load_decoder_weights(checkpoint, model, *ranks, dtype);
  }

  const std::filesystem::path folder = test_data() / "golden" / GetParam();
  const nlohmann::json golden = read_json(folder / "golden.json");
  const ModelConfig model = load_model_config(folder);
  const Checkpoint checkpoint{folder};
  const Batch batch{0, {piece_of(golden)}};
  std::unique_ptr<Communicator> ranks = world_communicator();
};

}  // namespace

TEST_P(GoldenTest, GivesTheAnswersOfTransformersInEveryCase) {
  const DecoderWeights weights = weights_kept_as(at::kFloat);
  const std::size_t num_targets = golden["target_ids"].size();

  double worst = 0;
  for (const auto& expected : golden["cases"]) {
    SweepEngine engine(model.decoder, weights, suppression_of(expected));
    const PieceResult result = engine.run(batch).pieces.at(0);
    EXPECT_LT(
        largest_difference(golden["base_log_probs"], result.base_log_prob.data()), kTolerance);
    for (std::size_t unit = 0; unit < golden["units"].size(); ++unit) {
      const double error =
          largest_difference(expected["delta"][unit], result.delta.data() + unit * num_targets);
      worst = std::max(worst, error);
      EXPECT_LT(error, kTolerance) << expected["semantics"] << " f = " << expected["factor"]
                                   << " kappa = " << expected["kappa"] << ", unit " << unit << " ("
                                   << golden["unit_kinds"][unit] << ")";
    }
  }
  RecordProperty("largest_error", std::to_string(worst));
}

TEST_P(GoldenTest, GivesNearlyTheSameDeltasByDifferencesInBfloat16) {
  const DecoderWeights weights = weights_kept_as(at::kFloat);

  const double error = relative_error(golden, model.decoder, weights, SweepCompute::Bfloat16Delta);
  RecordProperty("relative_error", std::to_string(error));
  EXPECT_LT(error, model.decoder.experts ? kExpertsDifferenceTolerance : kDifferenceTolerance);
}

TEST_P(GoldenTest, LosesNothingByKeepingWeightsAsTheyAreStored) {
  const at::ScalarType stored = stored_dtype(checkpoint, model);
  if (stored == at::kFloat) GTEST_SKIP() << "stored as float32";
  const auto result_with = [&](at::ScalarType dtype) {
    const DecoderWeights weights = weights_kept_as(dtype);
    EXPECT_EQ(weights.embedding.weight.scalar_type(), dtype);
    return SweepEngine(model.decoder, weights, {}).run(batch);
  };
  EXPECT_EQ(result_with(stored), result_with(at::kFloat));
}

// Stored values of more bits are rounded once, when they are read, and no product rounds again.
TEST_P(GoldenTest, MultipliesInFloat32WhateverWeightsAreKeptAs) {
  if (model.decoder.embedding_scale != 1) {
    GTEST_SKIP() << "its embedding's scale is rounded to the dtype of the weights";
  }
  const DecoderWeights kept = weights_kept_as(at::kBFloat16);
  DecoderWeights widened = kept;
  for (at::Tensor* const matrix :
       {&widened.embedding.weight,
        &widened.head.weight,
        &widened.positions,
        &widened.project_in,
        &widened.project_out}) {
    if (matrix->defined()) *matrix = matrix->to(at::kFloat);
  }
  for (LayerWeights& layer : widened.layers)
    layer = with_dtype(layer, at::kFloat);
  EXPECT_EQ(
      SweepEngine(model.decoder, kept, {}).run(batch),
      SweepEngine(model.decoder, widened, {}).run(batch));
}

INSTANTIATE_TEST_SUITE_P(
    Families, GoldenTest, testing::ValuesIn(golden_folders()), [](const auto& parameter) {
      return parameter.param;
    });

}  // namespace limn::test
