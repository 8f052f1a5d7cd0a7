#include "worker/random_weights.h"

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sharding/process_mesh.h"
#include "storage/checkpoint.h"

namespace limn::test {

namespace {

using Tensors = std::map<std::string, at::Tensor>;

void add_norm(Tensors& tensors, const std::string& name, const std::optional<Norm>& norm) {
  if (!norm) return;
  tensors[name + ".weight"] = norm->weight;
  tensors[name + ".bias"] = norm->bias;
}

void add_head_norm(Tensors& tensors, const std::string& name, const std::optional<HeadNorm>& norm) {
  if (!norm) return;
  if (const auto* const of_each = std::get_if<Norm>(&*norm))
    return add_norm(tensors, name, *of_each);
  tensors[name + ".weight"] = std::get<AllHeadsNorm>(*norm).weight;
}

void add_mlp(Tensors& tensors, const std::string& name, const LayerWeights& layer) {
  if (const auto* const dense = std::get_if<Mlp>(&layer.mlp)) {
    tensors[name + ".up"] = dense->up.weight;
    tensors[name + ".up.bias"] = dense->up.bias;
    tensors[name + ".down"] = dense->down.weight;
    tensors[name + ".down.bias"] = dense->down.bias;
    return;
  }
  const auto& experts = std::get<ExpertMlp>(layer.mlp);
  tensors[name + ".router"] = experts.router;
  tensors[name + ".router.bias"] = experts.router_bias;
  for (std::size_t e = 0; e < experts.experts.size(); ++e) {
    const Expert& expert = experts.experts[e];
    const std::string of_expert = fmt::format("{}.{}", name, e);
    tensors[of_expert + ".gate_up"] = expert.gate_up;
    tensors[of_expert + ".gate_up.bias"] = expert.gate_up_bias;
    tensors[of_expert + ".down"] = expert.down;
    tensors[of_expert + ".down.bias"] = expert.down_bias;
  }
}

// All tensors of a model, undefined ones, too.
Tensors tensors_of(const DecoderWeights& weights) {
  Tensors tensors{
      {"embedding", weights.embedding.weight},
      {"positions", weights.positions},
      {"project_in", weights.project_in},
      {"project_out", weights.project_out},
      {"head", weights.head.weight},
      {"head.bias", weights.head.bias}};
  add_norm(tensors, "embedding_norm", weights.embedding_norm);
  add_norm(tensors, "final_norm", weights.final_norm);
  for (std::size_t l = 0; l < weights.layers.size(); ++l) {
    const LayerWeights& layer = weights.layers[l];
    const std::string name = fmt::format("layer {} ", l);
    add_norm(tensors, name + "attention_in_norm", layer.attention_in_norm);
    add_norm(tensors, name + "attention_out_norm", layer.attention_out_norm);
    add_norm(tensors, name + "mlp_in_norm", layer.mlp_in_norm);
    add_norm(tensors, name + "mlp_out_norm", layer.mlp_out_norm);
    tensors[name + "qkv"] = layer.attention.query_key_value.weight;
    tensors[name + "qkv.bias"] = layer.attention.query_key_value.bias;
    tensors[name + "sinks"] = layer.attention.sinks;
    tensors[name + "out"] = layer.attention.out.weight;
    tensors[name + "out.bias"] = layer.attention.out.bias;
    add_head_norm(tensors, name + "query_norm", layer.attention.query_norm);
    add_head_norm(tensors, name + "key_norm", layer.attention.key_norm);
    add_mlp(tensors, name + "mlp", layer);
  }
  return tensors;
}

// "BFloat16 [4, 8]", or "none".
std::map<std::string, std::string> layout_of(const DecoderWeights& weights) {
  std::map<std::string, std::string> layout;
  for (const auto& [name, tensor] : tensors_of(weights)) {
    layout[name] = tensor.defined() ? fmt::format(
                                          "{} [{}]{}",
                                          c10::toString(tensor.scalar_type()),
                                          fmt::join(tensor.sizes(), ", "),
                                          tensor.is_contiguous() ? "" : " with gaps")
                                    : "none";
  }
  return layout;
}

std::filesystem::path golden(const std::string& family) {
  return std::filesystem::path(LIMN_TEST_DATA) / "golden" / family;
}

std::vector<std::string> golden_families() {
  std::vector<std::string> families;
  for (const auto& entry : std::filesystem::directory_iterator(golden(""))) {
    if (entry.is_directory()) families.push_back(entry.path().filename());
  }
  return families;
}

const ProcessMesh& all_ranks() {
  static const ProcessMesh mesh = [] {
    const auto world = world_communicator();
    return ProcessMesh::create(world->rank(), world->size(), world->size());
  }();
  return mesh;
}

DecoderWeights random_weights(const std::string& family, std::uint64_t seed = 0) {
  return random_decoder_weights(
      load_model_config(golden(family)), all_ranks().tensor_ranks(), at::kFloat, at::kCPU, seed);
}

class RandomWeightsOfFamilyTest : public testing::TestWithParam<std::string> {};

}  // namespace

TEST_P(RandomWeightsOfFamilyTest, HaveTheShapesOfACheckpoint) {
  const ModelConfig model = load_model_config(golden(GetParam()));
  const Checkpoint checkpoint(golden(GetParam()));
  Communicator& ranks = all_ranks().tensor_ranks();
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const DecoderWeights loaded = load_decoder_weights(checkpoint, model, ranks, dtype);
    const DecoderWeights random = random_decoder_weights(model, ranks, dtype, at::kCPU);
    EXPECT_EQ(layout_of(random), layout_of(loaded));
    EXPECT_EQ(random.heads.query_heads, loaded.heads.query_heads);
    EXPECT_EQ(random.embedding.vocabulary, loaded.embedding.vocabulary);
    EXPECT_EQ(
        random.head.weight.is_same(random.embedding.weight),
        loaded.head.weight.is_same(loaded.embedding.weight));
  }
}

TEST_P(RandomWeightsOfFamilyTest, CountTheParametersOfACheckpoint) {
  const Checkpoint checkpoint(golden(GetParam()));
  std::int64_t stored = 0;
  for (const std::string& name : checkpoint.names()) {
    std::int64_t elements = 1;
    for (const std::int64_t size : checkpoint.find(name)->shape)
      elements *= size;
    // Masks and frequencies in files as older releases wrote them.
    const auto is = [&](const char* suffix) { return name.ends_with(suffix); };
    if (is(".inv_freq") || is(".masked_bias") || is(".attn.bias") || is(".attention.bias"))
      continue;
    stored += elements;
  }
  EXPECT_EQ(num_parameters(load_model_config(golden(GetParam()))), stored);
}

INSTANTIATE_TEST_SUITE_P(
    Families,
    RandomWeightsOfFamilyTest,
    testing::ValuesIn(golden_families()),
    [](const auto& parameter) { return parameter.param; });

TEST(RandomWeightsTest, LieAroundZeroAndNormsAroundOne) {
  const DecoderWeights weights = random_weights("llama");
  const at::Tensor matrix = weights.layers[0].attention.query_key_value.weight;
  EXPECT_NEAR(matrix.mean().item<double>(), 0, 2e-3);
  EXPECT_NEAR(matrix.std().item<double>(), 0.02, 2e-3);
  EXPECT_NEAR(weights.final_norm->weight.mean().item<double>(), 1, 2e-2);
  // Stored as what is added to 1.
  EXPECT_NEAR(random_weights("gemma").final_norm->weight.mean().item<double>(), 1, 2e-2);
}

TEST(RandomWeightsTest, DependOnTheSeedAndNotOnThreads) {
  const int threads = at::get_num_threads();
  const Tensors one = tensors_of(random_weights("llama"));
  at::set_num_threads(threads + 1);
  const Tensors again = tensors_of(random_weights("llama"));
  at::set_num_threads(threads);
  const Tensors other = tensors_of(random_weights("llama", 1));
  for (const auto& [name, tensor] : one) {
    if (!tensor.defined()) continue;
    EXPECT_TRUE(at::equal(tensor, again.at(name))) << name;
    EXPECT_FALSE(at::equal(tensor, other.at(name))) << name;
  }
}

TEST(RandomWeightsTest, AreOtherOnesInEveryTensor) {
  const DecoderWeights weights = random_weights("llama");
  EXPECT_FALSE(
      at::equal(weights.layers[0].attention.out.weight, weights.layers[1].attention.out.weight));
}

TEST(RandomWeightsTest, AreTheSameOnAllRanksWhereAllHoldThem) {
  const DecoderWeights weights = random_weights("mixtral");
  const at::Tensor router = std::get<ExpertMlp>(weights.layers[0].mlp).router.contiguous();
  const at::Tensor everywhere = all_ranks().tensor_ranks().all_gather(router);  // [ranks, ...]
  for (std::int64_t rank = 0; rank < everywhere.size(0); ++rank)
    EXPECT_TRUE(at::equal(everywhere[rank], router));
}

}  // namespace limn::test
