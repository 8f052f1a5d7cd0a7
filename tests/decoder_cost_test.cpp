#include "worker/decoder_cost.h"

#include <gtest/gtest.h>

namespace limn::test {

TEST(DecoderCostTest, CountsTheProductsOfAllLayers) {
  // SmolLM2-135M: projections of 576 x 576, twice 576 x 192, 576 x 576; three MLP matrices of 576 x
  // 1536.
  const DecoderConfig config{
      .hidden = 576,
      .inner = 1536,
      .num_heads = 9,
      .num_kv_heads = 3,
      .head_dim = 64,
      .layers = std::vector<LayerConfig>(30)};
  const double weights = 576 * 576 + 2 * 576 * 192 + 576 * 576 + 3 * 576 * 1536;
  EXPECT_DOUBLE_EQ(sweep_cost(config).per_row, 30 * 2 * weights);
  EXPECT_DOUBLE_EQ(sweep_cost(config).per_row, 212336640);
  EXPECT_DOUBLE_EQ(sweep_cost(config).per_key, 30 * 4 * 64 * 9);
  EXPECT_DOUBLE_EQ(sweep_cost(config).per_key, 69120);
}

TEST(DecoderCostTest, CountsTwoMatricesWithoutAGate) {
  const DecoderConfig config{
      .hidden = 8,
      .inner = 32,
      .num_heads = 2,
      .num_kv_heads = 2,
      .head_dim = 4,
      .layers = std::vector<LayerConfig>(1),
      .mlp = MlpKind::Plain};
  EXPECT_DOUBLE_EQ(sweep_cost(config).per_row, 2 * (4 * 8 * 8 + 2 * 8 * 32));
}

TEST(DecoderCostTest, CountsTheRouterAndTheChosenExpertsOfLayersThatHaveSome) {
  const DecoderConfig config{
      .hidden = 8,
      .inner = 32,
      .num_heads = 2,
      .num_kv_heads = 1,
      .head_dim = 6,
      .layers = {{.has_experts = false}, {.has_experts = true}},
      .experts = ExpertsConfig{.num_experts = 16, .num_chosen = 3, .inner = 10}};
  const double attention = 8 * 12 + 2 * 8 * 6 + 12 * 8;
  const double experts = 8 * 16 + 3 * 3 * 8 * 10;
  EXPECT_DOUBLE_EQ(
      sweep_cost(config).per_row, 2 * (attention + 3 * 8 * 32) + 2 * (attention + experts));
  EXPECT_DOUBLE_EQ(sweep_cost(config).per_key, 2 * 4 * 6 * 2);
}

}  // namespace limn::test
