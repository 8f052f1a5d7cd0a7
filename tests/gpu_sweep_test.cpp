// The sweep on a GPU against transformers in float64, and against the CPU.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/ATen.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/util/Exception.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "sharding/local_communicator.h"
#include "storage/checkpoint.h"
#include "storage/json_file.h"
#include "tests/golden.h"
#include "tests/gpu_under_test.h"
#include "worker/decoder_weights.h"
#include "worker/generator.h"
#include "worker/gpu/gpu_program.h"
#include "worker/layer_source.h"
#include "worker/model_family.h"
#include "worker/streamed_layers.h"
#include "worker/sweep.h"

namespace limn::test {

namespace {

constexpr double kTolerance = 5e-4;
// Root mean square, relative to the deltas'; as on a CPU.
constexpr double kDifferenceTolerance = 0.03;
constexpr double kExpertsDifferenceTolerance = 0.12;
// Of differences and weights in float8, which has 3 bits.
constexpr double kFloat8Tolerance = 0.2;

class GpuSweepTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (const auto reason = why_no_gpu()) GTEST_SKIP() << *reason;
    gpu_under_test();
  }

  DecoderWeights weights_kept_as(at::ScalarType dtype) {
    return load_decoder_weights(checkpoint, model, ranks, dtype, gpu_under_test());
  }

  // How far base log-probabilities and deltas are from the golden's, in every case.
  double largest_error(const DecoderWeights& weights) const {
    const std::size_t num_targets = golden["target_ids"].size();
    double largest = 0;
    for (const auto& expected : golden["cases"]) {
      SweepEngine engine(model.decoder, weights, suppression_of(expected));
      const PieceResult result = engine.run(batch).pieces.at(0);
      largest = std::max(
          largest, largest_difference(golden["base_log_probs"], result.base_log_prob.data()));
      for (std::size_t unit = 0; unit < golden["units"].size(); ++unit) {
        largest = std::max(
            largest,
            largest_difference(expected["delta"][unit], result.delta.data() + unit * num_targets));
      }
    }
    return largest;
  }

  const std::filesystem::path folder = test_data() / "golden" / GetParam();
  const nlohmann::json golden = read_json(folder / "golden.json");
  const ModelConfig model = load_model_config(folder);
  const Checkpoint checkpoint{folder};
  const Batch batch{0, {piece_of(golden)}};
  LocalCommunicator ranks;
};

// Counts what the host waits for a GPU for.
class WaitCounter : public c10::WarningHandler {
 public:
  void process(const c10::Warning& warning) override {
    if (warning.msg().find("synchronizing CUDA operation") != std::string::npos) ++waits;
  }

  int waits = 0;
};

}  // namespace

TEST_P(GpuSweepTest, LetsTheModelAnswerAsOnACpu) {
  const auto tokens = golden["input_ids"].get<std::vector<std::int32_t>>();
  const auto prompt_end = tokens.begin() + golden["prompt_length"].get<std::ptrdiff_t>();
  const GenerationBatch prompts{
      .id = 0,
      .prompts = {{0, {tokens.begin(), prompt_end}, 5}, {1, {tokens.begin(), prompt_end - 1}, 3}},
      .end_tokens = {}};
  const auto answers = [&](const DecoderWeights& weights) {
    ResidentLayers layers(weights.layers);
    return Generator(model.decoder, weights, layers, SweepCompute::Float32).run(prompts).targets;
  };
  EXPECT_EQ(
      answers(weights_kept_as(at::kFloat)),
      answers(load_decoder_weights(checkpoint, model, ranks, at::kFloat)));
}

TEST_P(GpuSweepTest, GivesTheAnswersOfTransformersInFloat32) {
  const double error = largest_error(weights_kept_as(at::kFloat));
  RecordProperty("largest_error", std::to_string(error));
  EXPECT_LT(error, kTolerance);
}

TEST_P(GpuSweepTest, LosesNothingByKeepingWeightsInBfloat16) {
  if (stored_dtype(checkpoint, model) != at::kBFloat16) GTEST_SKIP() << "not stored in bfloat16";
  EXPECT_LT(largest_error(weights_kept_as(at::kBFloat16)), kTolerance);
}

TEST_P(GpuSweepTest, GivesNearlyTheSameDeltasByDifferencesInBfloat16) {
  for (const at::ScalarType kept : {at::kFloat, at::kBFloat16}) {
    // What is stored in more bits would be rounded.
    if (kept == at::kBFloat16 && stored_dtype(checkpoint, model) != kept) continue;
    const DecoderWeights weights = weights_kept_as(kept);
    const double error =
        relative_error(golden, model.decoder, weights, SweepCompute::Bfloat16Delta);
    RecordProperty("relative_error", std::to_string(error));
    EXPECT_LT(error, model.decoder.experts ? kExpertsDifferenceTolerance : kDifferenceTolerance);
  }
}

TEST_P(GpuSweepTest, GivesRoughlyTheSameDeltasByDifferencesInFloat8) {
  if (gpu_capability() < 89) GTEST_SKIP() << "this GPU has no float8";
  const DecoderWeights weights = weights_kept_as(at::kFloat);
  const double error = relative_error(golden, model.decoder, weights, SweepCompute::Float8Delta);
  RecordProperty("relative_error", std::to_string(error));
  EXPECT_LT(error, kFloat8Tolerance);
}

TEST_P(GpuSweepTest, GivesTheSameBitsAgain) {
  const DecoderWeights weights = weights_kept_as(at::kFloat);
  SweepEngine engine(model.decoder, weights, {}, SweepCompute::Bfloat16Delta);
  const BatchResult first = engine.run(batch);
  EXPECT_EQ(engine.run(batch), first);
}

TEST_P(GpuSweepTest, GivesTheSameBitsWithStreamedLayers) {
  for (const at::ScalarType kept : {at::kFloat, at::kBFloat16}) {
    const DecoderWeights resident = weights_kept_as(kept);
    const DecoderWeights around = load_decoder_weights(
        checkpoint, model, ranks, kept, gpu_under_test(), WeightPlacement::Streamed);
    StreamedLayers layers(checkpoint, model, ranks, kept, gpu_under_test());
    for (const SweepCompute compute :
         {SweepCompute::Float32, SweepCompute::Bfloat16, SweepCompute::Bfloat16Delta}) {
      const BatchResult expected = SweepEngine(model.decoder, resident, {}, compute).run(batch);
      SweepEngine engine(model.decoder, around, layers, {}, compute);
      // Often enough for the reader to come into memory that was in use.
      for (int sweep = 0; sweep < 5; ++sweep)
        EXPECT_EQ(engine.run(batch), expected) << name_of(compute) << ", sweep " << sweep;
    }
  }
}

// Experts are chosen by the host.
TEST_P(GpuSweepTest, WaitsForTheGpuOnceToReadTheResult) {
  if (model.decoder.experts) GTEST_SKIP() << "with experts";
  const DecoderWeights weights = weights_kept_as(at::kBFloat16);
  for (const SweepCompute compute :
       {SweepCompute::Float32, SweepCompute::Bfloat16, SweepCompute::Bfloat16Delta}) {
    SweepEngine engine(model.decoder, weights, {}, compute);
    engine.run(batch);
    WaitCounter counter;
    {
      const c10::WarningUtils::WarningHandlerGuard counting(&counter);
      c10::cuda::warning_state().set_sync_debug_mode(c10::cuda::SyncDebugMode::L_WARN);
      engine.run(batch);
      c10::cuda::warning_state().set_sync_debug_mode(c10::cuda::SyncDebugMode::L_DISABLED);
    }
    EXPECT_EQ(counter.waits, 1) << name_of(compute);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Families, GpuSweepTest, testing::ValuesIn(golden_folders()), [](const auto& parameter) {
      return parameter.param;
    });

}  // namespace limn::test
