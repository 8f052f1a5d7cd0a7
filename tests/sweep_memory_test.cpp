// What a sweep is predicted to allocate, and what it does.

#include "worker/sweep_memory.h"

#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <ostream>
#include <string>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <gtest/gtest.h>

#include "sharding/allocation_count.h"
#include "sharding/local_communicator.h"
#include "worker/key_factors.h"
#include "worker/sweep.h"

namespace limn::test {

namespace {

std::int64_t page_faults() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

at::Tensor random_matrix(std::int64_t rows, std::int64_t columns, at::ScalarType dtype) {
  return (at::randn({rows, columns}) / std::sqrt(static_cast<double>(columns))).to(dtype);
}

// The share of tensor rank 0, which is the only one there is: sums over the ranks lack the others'
// addends, which changes values, not sizes.
class RandomDecoder {
 public:
  RandomDecoder(const DecoderConfig& config, int tensor_parallel, at::ScalarType kept)
      : config_(config),
        tensor_parallel_(tensor_parallel),
        kept_(kept) {
    at::manual_seed(1);
    const Slice vocabulary = even_slice(config.vocab_size, tensor_parallel, 0);
    weights_.heads = shard_heads(config.num_heads, config.num_kv_heads, tensor_parallel, 0);
    // Large, so that rows stay different and choose different experts.
    weights_.embedding = {matrix(vocabulary.size(), config.hidden).mul_(32), vocabulary, &alone_};
    weights_.head = {
        .weight = matrix(vocabulary.size(), config.hidden),
        .vocabulary = vocabulary,
        .tensor_ranks = &alone_};
    weights_.final_norm = Norm{.epsilon = config.norm_epsilon};
    for (const LayerConfig& layer : config.layers)
      weights_.layers.push_back(layer_weights(layer));
  }

  const DecoderWeights& weights() const { return weights_; }

 private:
  at::Tensor matrix(std::int64_t rows, std::int64_t columns) const {
    return random_matrix(rows, columns, kept_);
  }

  LayerWeights layer_weights(const LayerConfig& layer) {
    const std::int64_t query_width = weights_.heads.query_heads.size() * config_.head_dim;
    const std::int64_t kv_width = weights_.heads.kv_heads.size() * config_.head_dim;
    LayerWeights result;
    result.attention_in_norm = Norm{.epsilon = config_.norm_epsilon};
    result.attention.query_key_value.weight = matrix(query_width + 2 * kv_width, config_.hidden);
    result.attention.out = {matrix(config_.hidden, query_width), {}, &alone_};
    result.mlp_in_norm = Norm{.epsilon = config_.norm_epsilon};
    if (layer.has_experts) {
      result.mlp = expert_mlp(*config_.experts);
    } else {
      result.mlp = dense_mlp();
    }
    return result;
  }

  Mlp dense_mlp() {
    const std::int64_t inner = even_slice(config_.inner, tensor_parallel_, 0).size();
    Mlp mlp{.kind = config_.mlp, .activation = config_.activation};
    mlp.up.weight = matrix(config_.mlp == MlpKind::Gated ? 2 * inner : inner, config_.hidden);
    mlp.down = {matrix(config_.hidden, inner), {}, &alone_};
    return mlp;
  }

  ExpertMlp expert_mlp(const ExpertsConfig& experts) {
    const std::int64_t inner = even_slice(experts.inner, tensor_parallel_, 0).size();
    ExpertMlp mlp{
        .config = experts,
        .router = random_matrix(experts.num_experts, config_.hidden, at::kFloat),
        .tensor_ranks = &alone_};
    for (std::int64_t i = 0; i < experts.num_experts; ++i) {
      mlp.experts.push_back(
          {.gate_up = matrix(2 * inner, config_.hidden), .down = matrix(config_.hidden, inner)});
    }
    return mlp;
  }

  DecoderConfig config_;
  int tensor_parallel_;
  at::ScalarType kept_;
  LocalCommunicator alone_;
  DecoderWeights weights_;
};

DecoderConfig small_decoder() {
  DecoderConfig config;
  config.vocab_size = 500;
  config.hidden = 192;
  config.inner = 512;
  config.num_heads = 6;
  config.num_kv_heads = 6;
  config.head_dim = 32;
  config.max_positions = 4096;
  config.layers.assign(2, {.attention_scale = 1 / std::sqrt(32.0)});
  config.ropes = {{.rotated = 32}};
  return config;
}

// Equal samples, each with one suppressed token for each perturbation, spread over its prompt.
struct BatchShape {
  std::int64_t samples = 1;
  std::int64_t prompt = 1;
  std::int64_t targets = 1;
  std::int64_t perturbations = 0;
};

Batch make_batch(const BatchShape& shape, std::int64_t vocab_size) {
  Batch batch;
  for (std::int64_t sample = 0; sample < shape.samples; ++sample) {
    BatchPiece& piece = batch.pieces.emplace_back();
    piece.prompt_length = shape.prompt;
    for (std::int64_t i = 0; i < shape.prompt + shape.targets; ++i) {
      const auto token = static_cast<std::int32_t>((sample + i * 7919) % vocab_size);
      piece.tokens.push_back(token);
      if (i >= shape.prompt) piece.target_ids.push_back(token);
    }
    piece.tokens.pop_back();
    for (std::int64_t i = 0; i < shape.perturbations; ++i) {
      const auto position = static_cast<std::int32_t>(i * shape.prompt / shape.perturbations);
      piece.perturbations.push_back({{position}});
    }
  }
  return batch;
}

SweepLayout layout_of(const Batch& batch) {
  return lay_out_sweep(batch, batch_factors(batch, {}, {}), kSweepBlockRows);
}

struct MemoryCase {
  std::string name;
  DecoderConfig config;
  BatchShape batch;
  at::ScalarType kept = at::kFloat;
  SweepCompute compute = SweepCompute::Float32;
  int tensor_parallel = 1;
  double similarity_threshold = 0;
};

void PrintTo(const MemoryCase& test, std::ostream* out) {
  *out << test.name;
}

constexpr BatchShape kPerturbationHeavy{
    .samples = 2, .prompt = 96, .targets = 4, .perturbations = 48};
constexpr BatchShape kBaseHeavy{.samples = 24, .prompt = 150, .targets = 4, .perturbations = 2};
constexpr BatchShape kShort{.samples = 120, .prompt = 12, .targets = 2, .perturbations = 6};
constexpr BatchShape kLong{.samples = 1, .prompt = 1500, .targets = 8, .perturbations = 6};
constexpr BatchShape kBaseAlone{.samples = 16, .prompt = 200, .targets = 4};
constexpr BatchShape kManyTargets{.samples = 2, .prompt = 40, .targets = 60, .perturbations = 30};

DecoderConfig with(DecoderConfig config, auto change) {
  change(config);
  return config;
}

std::vector<MemoryCase> memory_cases() {
  const DecoderConfig gated = small_decoder();
  const DecoderConfig plain = with(gated, [](DecoderConfig& c) {
    c.mlp = MlpKind::Plain;
    c.activation = Activation::GeluTanh;
    c.inner = 4 * c.hidden;
  });
  const DecoderConfig grouped = with(gated, [](DecoderConfig& c) { c.num_kv_heads = 2; });
  const DecoderConfig large_vocabulary =
      with(grouped, [](DecoderConfig& c) { c.vocab_size = 20000; });
  const DecoderConfig parallel =
      with(grouped, [](DecoderConfig& c) { c.residual = ResidualKind::Parallel; });
  const DecoderConfig experts = with(grouped, [](DecoderConfig& c) {
    c.experts = ExpertsConfig{.num_experts = 8, .num_chosen = 2, .inner = 256};
    for (LayerConfig& layer : c.layers)
      layer.has_experts = true;
  });
  constexpr auto kDelta = SweepCompute::Bfloat16Delta;
  constexpr auto kBfloat16 = SweepCompute::Bfloat16;
  return {
      {"gated", gated, kPerturbationHeavy},
      {"gated_base_heavy", gated, kBaseHeavy},
      {"gated_base_alone", gated, kBaseAlone},
      {"gated_short", gated, kShort},
      {"gated_long", gated, kLong},
      {"plain", plain, kPerturbationHeavy},
      {"plain_base_heavy", plain, kBaseHeavy},
      {"grouped", grouped, kPerturbationHeavy},
      {"grouped_many_targets", grouped, kManyTargets},
      {"large_vocabulary", large_vocabulary, kPerturbationHeavy},
      {"large_vocabulary_many_targets", large_vocabulary, kManyTargets},
      {"parallel", parallel, kPerturbationHeavy},
      {"experts", experts, kPerturbationHeavy},
      {"experts_base_heavy", experts, kBaseHeavy},
      {"converted", grouped, kPerturbationHeavy, at::kBFloat16},
      {"bfloat16", grouped, kPerturbationHeavy, at::kBFloat16, kBfloat16},
      {"bfloat16_base_heavy", grouped, kBaseHeavy, at::kBFloat16, kBfloat16},
      {"bfloat16_plain_long", plain, kLong, at::kBFloat16, kBfloat16},
      {"delta", grouped, kPerturbationHeavy, at::kBFloat16, kDelta},
      {"delta_base_heavy", grouped, kBaseHeavy, at::kBFloat16, kDelta},
      {"delta_short", grouped, kShort, at::kBFloat16, kDelta},
      {"delta_long", grouped, kLong, at::kBFloat16, kDelta},
      {"delta_of_float32", grouped, kPerturbationHeavy, at::kFloat, kDelta},
      {"delta_many_targets", large_vocabulary, kManyTargets, at::kBFloat16, kDelta},
      {"delta_experts", experts, kPerturbationHeavy, at::kBFloat16, kDelta},
      {"two_ranks", grouped, kPerturbationHeavy, at::kBFloat16, kDelta, 2},
      {"correlated", grouped, kLong, at::kFloat, SweepCompute::Float32, 1, 2.0},
  };
}

class SweepMemoryTest : public testing::TestWithParam<MemoryCase> {};

}  // namespace

TEST_P(SweepMemoryTest, IsPredictedWithinATenth) {
  const MemoryCase& test = GetParam();
  const RandomDecoder decoder(test.config, test.tensor_parallel, test.kept);
  const Batch batch = make_batch(test.batch, test.config.vocab_size);
  const SweepMemoryOptions options{
      .tensor_parallel = test.tensor_parallel,
      .threads = at::get_num_threads(),
      .kept = test.kept,
      .compute = test.compute,
      .is_correlated = test.similarity_threshold > 0};
  const std::int64_t predicted = sweep_memory(test.config, shape_of(layout_of(batch)), options);

  SweepEngine engine(
      test.config,
      decoder.weights(),
      {.similarity_threshold = test.similarity_threshold},
      test.compute);
  const auto count = std::make_shared<AllocationCount>();
  const c10::DebugInfoGuard counting(c10::DebugInfoKind::PROFILER_STATE, count);
  const BatchResult first = engine.run(batch);
  const std::int64_t kept = count->live();
  EXPECT_LT(kept, count->peak());

  count->start_again();
  EXPECT_EQ(engine.run(batch), first);
  const std::int64_t peak = count->peak();
  EXPECT_GT(peak, 1 << 20) << "too small to say anything";
  EXPECT_NEAR(
      static_cast<double>(predicted), static_cast<double>(peak), 0.1 * static_cast<double>(peak));

  // What it keeps from sweep to sweep does not grow.
  EXPECT_EQ(count->live(), kept);
  count->start_again();
  const std::int64_t faults = page_faults();
  EXPECT_EQ(engine.run(batch), first);
  RecordProperty("page_faults", std::to_string(page_faults() - faults));
  EXPECT_EQ(count->peak(), peak);
  EXPECT_EQ(count->live(), kept);
  RecordProperty("predicted", std::to_string(predicted));
  RecordProperty("peak", std::to_string(peak));
  RecordProperty("allocated", std::to_string(count->allocated()));
}

INSTANTIATE_TEST_SUITE_P(
    All, SweepMemoryTest, testing::ValuesIn(memory_cases()), [](const auto& test) {
      return test.param.name;
    });

}  // namespace limn::test
