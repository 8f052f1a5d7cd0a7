#include "worker/key_factors.h"

#include <cmath>
#include <filesystem>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "sharding/local_communicator.h"
#include "storage/checkpoint.h"
#include "storage/json_file.h"
#include "tests/test_folders.h"
#include "worker/decoder_weights.h"
#include "worker/model_family.h"

namespace limn::test {

namespace {

using testing::DoubleNear;
using testing::ElementsAre;
using testing::FloatEq;

// Four tokens: 1 is as good as 0, 2 is somewhat like both, 3 is like 2 alone.
at::Tensor example_similarity() {
  return at::tensor(
             {1.0, 1.0, 0.75, 0.0, 1.0, 1.0, 0.75, 0.0, 0.75, 0.75, 1.0, 0.5, 0.0, 0.0, 0.5, 1.0},
             at::kDouble)
      .view({4, 4});
}

// One factor for every key of a sequence of four.
std::vector<float> dense(const KeyFactors& factors) {
  std::vector<float> all(4, 1.0F);
  for (std::size_t i = 0; i < factors.positions.size(); ++i)
    all.at(static_cast<std::size_t>(factors.positions[i])) = factors.factors[i];
  return all;
}

std::vector<float> similar_factors(
    std::vector<std::int32_t> positions, const Suppression& suppression) {
  return dense(key_factors({std::move(positions)}, suppression, 4, example_similarity()));
}

}  // namespace

TEST(KeyFactorsTest, SuppressesThePerturbationsKeysAlone) {
  const KeyFactors factors = key_factors({{1, 3}}, {.factor = 0.25}, 4, {});
  EXPECT_THAT(factors.positions, ElementsAre(1, 3));
  EXPECT_THAT(factors.factors, ElementsAre(0.25F, 0.25F));
}

TEST(KeyFactorsTest, PassesOverKeysThatNoRowSees) {
  EXPECT_THAT(key_factors({{1, 4, 9}}, {}, 4, {}).positions, ElementsAre(1));
  EXPECT_TRUE(key_factors({{4}}, {}, 4, {}).empty());
  // Nor are others similar to them.
  EXPECT_TRUE(key_factors({{4}}, {.similarity_threshold = 0.1}, 4, example_similarity()).empty());
}

TEST(KeyFactorsTest, SparesTheFirstTokenIfAsked) {
  EXPECT_THAT(key_factors({{0, 2}}, {.spare_first_token = true}, 4, {}).positions, ElementsAre(2));
  EXPECT_TRUE(key_factors({{0}}, {.spare_first_token = true}, 4, {}).empty());
  // Neither as a key of the unit nor as one that is similar to it; the unit's others follow it.
  EXPECT_THAT(
      similar_factors({1}, {.similarity_threshold = 0.7, .spare_first_token = true}),
      ElementsAre(1.0F, 0.0F, 0.25F, 1.0F));
}

TEST(KeyFactorsTest, GivesNoneForFactorOne) {
  EXPECT_TRUE(key_factors({{0, 2}}, {.factor = 1.0}, 4, {}).empty());
  const Suppression correlated{.factor = 1.0, .similarity_threshold = 0.1};
  EXPECT_TRUE(key_factors({{0, 2}}, correlated, 4, example_similarity()).empty());
}

TEST(KeyFactorsTest, GivesNoneForAFactorThatIsOneInFloat32) {
  EXPECT_TRUE(key_factors({{0, 2}}, {.factor = 1 + 1e-9}, 4, {}).empty());
  // Of two keys that have next to nothing in common.
  const at::Tensor similarity = at::tensor({1.0, 1e-9, 1e-9, 1.0}, at::kDouble).view({2, 2});
  EXPECT_THAT(
      key_factors({{0}}, {.similarity_threshold = 1e-10}, 2, similarity).positions, ElementsAre(0));
}

TEST(KeyFactorsTest, GivesSimilarKeysAFactorBetween) {
  // (1 - f)(1 - c) + f with c = 1, 0.75 and, below the threshold, 0.
  EXPECT_THAT(
      similar_factors({0}, {.factor = 0.2, .similarity_threshold = 0.75}),
      ElementsAre(0.2F, 0.2F, FloatEq(0.8F * 0.25F + 0.2F), 1.0F));
  EXPECT_THAT(
      similar_factors({0}, {.factor = 2.0, .similarity_threshold = 0.75}),
      ElementsAre(2.0F, 2.0F, 1.75F, 1.0F));
  EXPECT_THAT(
      similar_factors({0}, {.factor = 0.0, .similarity_threshold = 0.76}),
      ElementsAre(0.0F, 0.0F, 1.0F, 1.0F));
}

TEST(KeyFactorsTest, TakesTheLargestSimilarityToAnyOfTheUnit) {
  EXPECT_THAT(
      similar_factors({0, 3}, {.similarity_threshold = 0.5}), ElementsAre(0.0F, 0.0F, 0.25F, 0.0F));
}

TEST(KeyFactorsTest, KeepsTheUnitsOwnKeysAtItsFactor) {
  // Key 2 is in the unit and similar to its other key.
  EXPECT_THAT(
      similar_factors({2, 3}, {.factor = 0.5, .similarity_threshold = 0.5}),
      ElementsAre(0.625F, 0.625F, 0.5F, 0.5F));
}

TEST(KeyFactorsTest, MeasuresCosines) {
  const at::Tensor embeddings = at::tensor({3.0F, 0.0F, 1.0F, 1.0F, 0.0F, -2.0F}).view({3, 2});
  const at::Tensor similarity = embedding_similarity(embeddings);
  ASSERT_EQ(similarity.scalar_type(), at::kDouble);
  EXPECT_THAT(similarity[0][1].item<double>(), DoubleNear(std::sqrt(0.5), 1e-12));
  EXPECT_THAT(similarity[1][2].item<double>(), DoubleNear(-std::sqrt(0.5), 1e-12));
  EXPECT_EQ(similarity[0][2].item<double>(), 0.0);
}

TEST(KeyFactorsTest, CountsACosineNearOneAsOne) {
  // cos = 1 / sqrt(1 + t^2), about 1 - t^2 / 2.
  const auto cosine_at = [](float t) {
    return embedding_similarity(at::tensor({1.0F, 0.0F, 1.0F, t}).view({2, 2}))[0][1]
        .item<double>();
  };
  EXPECT_EQ(cosine_at(1e-3F), 1.0);
  EXPECT_LT(cosine_at(2e-3F), 1.0 - 1e-6);
  // Rounding puts a token's cosine with itself on either side of 1.
  const at::Tensor tokens = at::rand({50, 31}, at::kFloat).repeat({2, 1});
  const at::Tensor repeated = embedding_similarity(tokens).diagonal(50);
  EXPECT_TRUE(repeated.eq(1.0).all().item<bool>());
}

TEST(KeyFactorsTest, ATokenWithoutLengthIsLikeNoOther) {
  const at::Tensor similarity =
      embedding_similarity(at::tensor({0.0F, 0.0F, 1.0F, 2.0F}).view({2, 2}));
  EXPECT_EQ(similarity[0][1].item<double>(), 0.0);
}

// The factors of transformers' golden cases; tests/data/golden/README.md says how they were made.
class GoldenFactorsTest : public testing::TestWithParam<const char*> {};

TEST_P(GoldenFactorsTest, AreThoseOfTheRealEmbeddings) {
  const auto folder = test_data() / "golden" / GetParam();
  const nlohmann::json golden = read_json(folder / "golden.json");
  const Checkpoint checkpoint(folder);
  LocalCommunicator alone;
  const DecoderWeights weights =
      load_decoder_weights(checkpoint, load_model_config(folder), alone, at::kFloat);
  auto tokens = golden["input_ids"].get<std::vector<std::int64_t>>();
  tokens.resize(golden["sequence_length"]);
  const at::Tensor similarity =
      embedding_similarity(weights.embedding(at::tensor(tokens, at::kLong)));

  int num_similar = 0;
  for (const auto& expected : golden["cases"]) {
    Suppression suppression;
    suppression.factor = expected["factor"];
    if (!expected["kappa"].is_null()) suppression.similarity_threshold = expected["kappa"];
    for (std::size_t unit = 0; unit < golden["units"].size(); ++unit) {
      const Perturbation perturbation{golden["units"][unit].get<std::vector<std::int32_t>>()};
      const KeyFactors factors = key_factors(
          perturbation,
          suppression,
          std::ssize(tokens),
          suppression.similarity_threshold > 0 ? similarity : at::Tensor());
      std::vector<double> got(tokens.size(), 1.0);
      for (std::size_t i = 0; i < factors.positions.size(); ++i)
        got[static_cast<std::size_t>(factors.positions[i])] = factors.factors[i];
      EXPECT_THAT(
          got,
          testing::Pointwise(
              testing::DoubleNear(1e-6), expected["key_factors"][unit].get<std::vector<double>>()))
          << "f = " << expected["factor"] << ", kappa = " << expected["kappa"] << ", unit " << unit;
      num_similar += std::ssize(factors.positions) > std::ssize(perturbation.positions) ? 1 : 0;
    }
  }
  EXPECT_GT(num_similar, 0);
}

INSTANTIATE_TEST_SUITE_P(
    Llama,
    GoldenFactorsTest,
    testing::Values("llama", "llama_5_1_bias", "llama_6_3_tied", "llama_8_1_bf16", "llama_5_5"),
    [](const auto& parameter) { return std::string(parameter.param); });

}  // namespace limn::test
