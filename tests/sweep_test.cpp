// The sweep against a plain decoder in float64, on random models and batches, sharded and whole.

#include "worker/sweep.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <utility>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sharding/process_mesh.h"
#include "storage/error.h"
#include "tests/reference_decoder.h"

namespace limn::test {

namespace {

// This rank's slices of whole weights.
DecoderWeights sharded(
    const DecoderConfig& config, const ReferenceWeights& whole, Communicator& ranks) {
  const auto slice_rows = [](const at::Tensor& tensor, std::int64_t begin, std::int64_t end) {
    return tensor.narrow(0, begin, end - begin).to(at::kFloat).contiguous();
  };
  const auto slice_columns = [](const at::Tensor& tensor, std::int64_t begin, std::int64_t end) {
    return tensor.narrow(1, begin, end - begin).to(at::kFloat).contiguous();
  };
  DecoderWeights weights;
  weights.heads = shard_heads(config.num_heads, config.num_kv_heads, ranks.size(), ranks.rank());
  const Slice vocabulary = even_slice(config.vocab_size, ranks.size(), ranks.rank());
  const Slice inner = even_slice(config.inner, ranks.size(), ranks.rank());
  const std::int64_t d = config.head_dim;
  const Slice q{weights.heads.query_heads.begin * d, weights.heads.query_heads.end * d};
  const Slice kv{weights.heads.kv_heads.begin * d, weights.heads.kv_heads.end * d};

  weights.embedding = {
      slice_rows(whole.embedding, vocabulary.begin, vocabulary.end), vocabulary, &ranks};
  weights.head = {
      .weight = slice_rows(whole.head, vocabulary.begin, vocabulary.end),
      .vocabulary = vocabulary,
      .tensor_ranks = &ranks};
  const auto norm_of = [&](const at::Tensor& weight) {
    return Norm{.epsilon = config.norm_epsilon, .weight = weight.to(at::kFloat)};
  };
  weights.final_norm = norm_of(whole.final_norm);
  for (const ReferenceLayer& layer : whole.layers) {
    LayerWeights& shard = weights.layers.emplace_back();
    shard.attention_in_norm = norm_of(layer.attention_norm);
    shard.attention.query_key_value.weight = at::cat(
        {slice_rows(layer.query, q.begin, q.end),
         slice_rows(layer.key, kv.begin, kv.end),
         slice_rows(layer.value, kv.begin, kv.end)});
    shard.attention.out = {slice_columns(layer.out, q.begin, q.end), {}, &ranks};
    shard.mlp_in_norm = norm_of(layer.mlp_norm);
    Mlp mlp{.kind = config.mlp, .activation = config.activation};
    mlp.up.weight = at::cat(
        {slice_rows(layer.gate, inner.begin, inner.end),
         slice_rows(layer.up, inner.begin, inner.end)});
    mlp.down = {slice_columns(layer.down, inner.begin, inner.end), {}, &ranks};
    shard.mlp = std::move(mlp);
  }
  return weights;
}

DecoderConfig config_with_heads(std::int64_t heads, std::int64_t kv_heads, std::size_t layers = 3) {
  DecoderConfig config;
  config.vocab_size = 61;
  config.hidden = 32;
  config.inner = 45;
  config.num_heads = heads;
  config.num_kv_heads = kv_heads;
  config.head_dim = 6;
  config.max_positions = 256;
  config.layers.assign(layers, {.attention_scale = 1 / std::sqrt(6.0)});
  config.ropes = {{.rotated = 6}};
  return config;
}

// A sample of random tokens with random sets of suppressed positions, target positions among them.
BatchPiece random_piece(
    std::mt19937& random, std::int64_t prompt_length, int num_targets, int num_perturbations) {
  const auto below = [&](std::int64_t n) {
    return std::uniform_int_distribution<std::int32_t>(0, static_cast<std::int32_t>(n) - 1)(random);
  };
  BatchPiece piece;
  piece.sample_index = below(1000);
  piece.prompt_length = prompt_length;
  for (std::int64_t i = 0; i < prompt_length; ++i)
    piece.tokens.push_back(below(61));
  for (int i = 0; i < num_targets; ++i)
    piece.target_ids.push_back(below(61));
  piece.tokens.insert(piece.tokens.end(), piece.target_ids.begin(), piece.target_ids.end() - 1);
  for (int i = 0; i < num_perturbations; ++i) {
    Perturbation& perturbation = piece.perturbations.emplace_back();
    const int size = 1 + below(i % 3 == 0 ? 1 : piece.fed_length());
    for (int k = 0; k < size; ++k)
      perturbation.positions.push_back(below(piece.fed_length() + 1));
    std::ranges::sort(perturbation.positions);
    const auto repeated = std::ranges::unique(perturbation.positions);
    perturbation.positions.erase(repeated.begin(), repeated.end());
  }
  return piece;
}

// Longer than two blocks of attention rows, than one row, and everything hidden.
Batch random_batch(unsigned seed) {
  std::mt19937 random(seed);
  Batch batch;
  batch.id = 7;
  batch.pieces.push_back(random_piece(random, 150, 5, 6));
  batch.pieces.push_back(random_piece(random, 1, 1, 2));
  batch.pieces.push_back(random_piece(random, 20, 3, 8));
  std::vector<std::int32_t> all;
  for (std::int32_t i = 0; i < batch.pieces[2].prompt_length; ++i)
    all.push_back(i);
  batch.pieces[2].perturbations.push_back({all});
  return batch;
}

// The weights as bfloat16 has them, so that every arithmetic computes with the same.
ReferenceWeights rounded_weights(const DecoderConfig& config, unsigned seed) {
  ReferenceWeights weights = random_weights(config, seed);
  const auto round = [](at::Tensor& matrix) { matrix = matrix.to(at::kBFloat16).to(at::kDouble); };
  round(weights.embedding);
  round(weights.head);
  for (ReferenceLayer& layer : weights.layers) {
    for (at::Tensor* const matrix :
         {&layer.query, &layer.key, &layer.value, &layer.out, &layer.gate, &layer.up, &layer.down})
      round(*matrix);
  }
  return weights;
}

// All deltas of a batch, [deltas] float64.
at::Tensor reference_deltas(
    const DecoderConfig& config,
    const ReferenceWeights& weights,
    const Suppression& suppression,
    const Batch& batch) {
  std::vector<at::Tensor> deltas;
  for (const BatchPiece& piece : batch.pieces) {
    const auto log_probs = [&](const at::Tensor& factors) {
      return reference_log_probs(config, weights, piece, suppression.kind, factors);
    };
    const at::Tensor base = log_probs(at::ones({piece.fed_length()}, at::kDouble));
    for (const Perturbation& perturbation : piece.perturbations)
      deltas.push_back(base - log_probs(reference_factors(piece, perturbation, suppression)));
  }
  return at::cat(deltas);
}

at::Tensor all_deltas(const BatchResult& result) {
  std::vector<at::Tensor> deltas;
  for (const PieceResult& piece : result.pieces)
    deltas.push_back(at::tensor(at::ArrayRef<float>(piece.delta)));
  return at::cat(deltas).to(at::kDouble);
}

// Root mean squares of the error and of the value.
double relative_error(const at::Tensor& got, const at::Tensor& expected) {
  return ((got - expected).norm() / expected.norm()).item<double>();
}

class SweepTest : public testing::Test {
 protected:
  // The largest difference between the sweep and the reference over all values of a batch.
  double largest_error(
      const DecoderConfig& config, const Suppression& suppression, const Batch& batch) {
    const ReferenceWeights whole = random_weights(config, 11);
    const DecoderWeights weights = sharded(config, whole, *ranks);
    const BatchResult result = SweepEngine(config, weights, suppression).run(batch);
    double largest = 0;
    for (std::size_t i = 0; i < batch.pieces.size(); ++i) {
      const BatchPiece& piece = batch.pieces[i];
      const at::Tensor ones = at::ones({piece.fed_length()}, at::kDouble);
      const at::Tensor base = reference_log_probs(config, whole, piece, suppression.kind, ones);
      largest = std::max(largest, difference(base, result.pieces[i].base_log_prob, 0));
      for (std::size_t k = 0; k < piece.perturbations.size(); ++k) {
        const at::Tensor factors = reference_factors(piece, piece.perturbations[k], suppression);
        const at::Tensor perturbed =
            reference_log_probs(config, whole, piece, suppression.kind, factors);
        largest = std::max(largest, difference(base - perturbed, result.pieces[i].delta, k));
      }
    }
    return largest;
  }

  // Between `expected` [targets] and the given row of `got` [..., targets].
  static double difference(
      const at::Tensor& expected, const std::vector<float>& got, std::size_t row) {
    double largest = 0;
    const auto num_targets = static_cast<std::size_t>(expected.numel());
    for (std::size_t i = 0; i < num_targets; ++i) {
      const double value = expected[static_cast<std::int64_t>(i)].item<double>();
      const double error = std::abs(value - got.at(row * num_targets + i));
      largest =
          std::isnan(error) ? std::numeric_limits<double>::infinity() : std::max(largest, error);
    }
    return largest;
  }

  std::unique_ptr<Communicator> ranks = world_communicator();
};

struct NamedSuppression {
  const char* name;
  Suppression suppression;
};

const NamedSuppression kSuppressions[] = {
    {"hidden", {SuppressionKind::LogAdditive, 0.0}},
    {"log_additive", {SuppressionKind::LogAdditive, 0.1}},
    {"amplified", {SuppressionKind::LogAdditive, 3.0}},
    {"multiplicative", {SuppressionKind::Multiplicative, 0.3}},
    {"shifted", {SuppressionKind::Shifted, 0.2}},
    {"shifted to the minimum", {SuppressionKind::Shifted, 0.0}},
    {"shifted_full", {SuppressionKind::ShiftedFull, 0.4}},
    {"spared", {SuppressionKind::LogAdditive, 0.0, 0.0, true}},
};

}  // namespace

TEST_F(SweepTest, EqualsTheReferenceForEverySuppression) {
  for (const auto& [name, suppression] : kSuppressions) {
    EXPECT_LT(largest_error(config_with_heads(6, 3), suppression, random_batch(1)), 5e-5) << name;
  }
}

TEST_F(SweepTest, EqualsTheReferenceForHeadsThatDoNotDivide) {
  for (const auto& [heads, kv_heads] : {std::pair{5, 5}, {6, 2}, {7, 1}, {10, 2}, {4, 4}}) {
    EXPECT_LT(
        largest_error(
            config_with_heads(heads, kv_heads), kSuppressions[4].suppression, random_batch(2)),
        5e-5)
        << heads << " heads, " << kv_heads << " key/value heads";
  }
}

TEST_F(SweepTest, EqualsTheReferenceWithOneLayer) {
  // The only layer is the first, whose projections are shared, and the last, which is trimmed.
  const DecoderConfig config = config_with_heads(4, 2, /*layers=*/1);
  EXPECT_LT(largest_error(config, kSuppressions[0].suppression, random_batch(3)), 5e-5);
}

TEST_F(SweepTest, DifferencesInBfloat16AreSeveralTimesNearerToTheReferenceThanValues) {
  const DecoderConfig config = config_with_heads(6, 3);
  const ReferenceWeights whole = rounded_weights(config, 11);
  const DecoderWeights weights = sharded(config, whole, *ranks);
  // A token at a time: small deltas, of which the rounding of values leaves little.
  std::mt19937 random(12);
  Batch batch{0, {random_piece(random, 150, 5, 0)}};
  for (std::int32_t position = 0; position < 150; position += 7)
    batch.pieces[0].perturbations.push_back({{position}});
  for (const auto& [name, suppression] : kSuppressions) {
    const at::Tensor expected = reference_deltas(config, whole, suppression, batch);
    const auto error = [&](SweepCompute compute) {
      SweepEngine engine(config, weights, suppression, compute);
      return relative_error(all_deltas(engine.run(batch)), expected);
    };
    const double of_differences = error(SweepCompute::Bfloat16Delta);
    const double of_values = error(SweepCompute::Bfloat16);
    // 0.005 to 0.008 were measured, and 12 to 21 times as much.
    EXPECT_LT(of_differences, 0.02) << name;
    EXPECT_LT(5 * of_differences, of_values) << name;
  }
}

TEST_F(SweepTest, DoesNotDependOnThePacking) {
  const DecoderConfig config = config_with_heads(6, 3);
  const DecoderWeights weights = sharded(config, random_weights(config, 11), *ranks);
  for (const auto& [name, suppression] : kSuppressions) {
    SweepEngine engine(config, weights, suppression);
    const Batch packed = random_batch(4);
    const BatchResult together = engine.run(packed);
    for (std::size_t i = 0; i < packed.pieces.size(); ++i) {
      const std::size_t num_targets = packed.pieces[i].target_ids.size();
      for (std::size_t k = 0; k < packed.pieces[i].perturbations.size(); ++k) {
        BatchPiece alone = packed.pieces[i];
        alone.perturbations = {packed.pieces[i].perturbations[k]};
        const BatchResult single = engine.run({0, {alone}});
        for (std::size_t t = 0; t < num_targets; ++t) {
          EXPECT_NEAR(
              single.pieces[0].delta[t], together.pieces[i].delta[k * num_targets + t], 1e-5)
              << name;
        }
      }
    }
  }
}

TEST_F(SweepTest, GivesTheSameBitsInEveryRun) {
  const DecoderConfig config = config_with_heads(6, 3);
  const DecoderWeights weights = sharded(config, random_weights(config, 11), *ranks);
  SweepEngine engine(config, weights, kSuppressions[0].suppression);
  const BatchResult first = engine.run(random_batch(5));
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(engine.run(random_batch(5)), first);
}

TEST_F(SweepTest, FactorOneGivesExactlyZero) {
  const DecoderConfig config = config_with_heads(6, 3);
  const DecoderWeights weights = sharded(config, random_weights(config, 11), *ranks);
  for (const auto kind :
       {SuppressionKind::LogAdditive,
        SuppressionKind::Multiplicative,
        SuppressionKind::Shifted,
        SuppressionKind::ShiftedFull}) {
    for (const double threshold : {0.0, 0.2}) {
      SweepEngine engine(config, weights, {kind, 1.0, threshold});
      for (const PieceResult& piece : engine.run(random_batch(6)).pieces) {
        EXPECT_THAT(piece.delta, testing::Each(0.0F));
      }
    }
  }
}

TEST_F(SweepTest, TargetsBeforeTheSuppressedKeyHaveDeltaZero) {
  const DecoderConfig config = config_with_heads(6, 3);
  const DecoderWeights weights = sharded(config, random_weights(config, 11), *ranks);
  SweepEngine engine(config, weights, {SuppressionKind::LogAdditive, 0.0});
  std::mt19937 random(9);
  BatchPiece piece = random_piece(random, 10, 4, 0);
  // The second target's own key: only the third and fourth can see it. The last target's key:
  // nobody.
  piece.perturbations = {{{11}}, {{13}}};
  const std::vector<float> delta = engine.run({0, {piece}}).pieces[0].delta;
  ASSERT_EQ(delta.size(), 8U);
  EXPECT_EQ(delta[0], 0.0F);
  EXPECT_EQ(delta[1], 0.0F);
  EXPECT_NE(delta[2], 0.0F);
  EXPECT_NE(delta[3], 0.0F);
  EXPECT_THAT(std::vector<float>(delta.begin() + 4, delta.end()), testing::Each(0.0F));
}

// explain.include_target: after units of the prompt each target token alone.
TEST_F(SweepTest, EqualsTheReferenceForUnitsOfTheTarget) {
  const DecoderConfig config = config_with_heads(6, 3);
  std::mt19937 random(14);
  BatchPiece piece = random_piece(random, 23, 6, 3);
  for (std::int32_t i = 0; i < piece.num_targets(); ++i)
    piece.perturbations.push_back({{static_cast<std::int32_t>(piece.prompt_length) + i}});
  for (const auto& [name, suppression] : kSuppressions) {
    EXPECT_LT(largest_error(config, suppression, {0, {piece}}), 5e-5) << name;
  }
}

TEST_F(SweepTest, TargetsUpToAUnitOfTheTargetHaveDeltaZero) {
  const DecoderConfig config = config_with_heads(6, 3);
  const DecoderWeights weights = sharded(config, random_weights(config, 11), *ranks);
  std::mt19937 random(15);
  BatchPiece piece = random_piece(random, 12, 5, 0);
  // The prompt says what the target will say, so correlated suppression reaches far back.
  for (std::size_t i = 0; i < 4; ++i)
    piece.tokens[2 * i] = piece.target_ids[i];
  for (std::int32_t i = 0; i < piece.num_targets(); ++i)
    piece.perturbations.push_back({{static_cast<std::int32_t>(piece.prompt_length) + i}});
  for (const double threshold : {0.0, 0.9}) {
    SweepEngine engine(config, weights, {SuppressionKind::LogAdditive, 0.0, threshold});
    const std::vector<float> delta = engine.run({0, {piece}}).pieces[0].delta;
    ASSERT_EQ(delta.size(), 25U);
    for (std::size_t unit = 0; unit < 5; ++unit) {
      for (std::size_t target = 0; target < 5; ++target) {
        if (target <= unit) {
          EXPECT_EQ(delta[unit * 5 + target], 0.0F) << unit << ", " << target;
        } else {
          EXPECT_NE(delta[unit * 5 + target], 0.0F) << unit << ", " << target;
        }
      }
    }
  }
}

TEST_F(SweepTest, UnitsOfTheTargetTakeOnlyTheRowsBehindThem) {
  std::mt19937 random(16);
  BatchPiece piece = random_piece(random, 12, 3, 0);
  std::vector<KeyFactors> factors;
  for (std::int32_t i = 0; i < 3; ++i) {
    piece.perturbations.push_back({{12 + i}});
    factors.push_back(key_factors(piece.perturbations.back(), {}, piece.fed_length(), {}));
  }
  const SweepLayout layout = lay_out_sweep({0, {piece}}, {factors}, /*block_rows=*/16);
  // 14 rows are fed: the base's, then those from position 12 and 13 on, none for the last token.
  EXPECT_EQ(layout.num_rows, 14 + 2 + 1);
  EXPECT_EQ(layout.num_target_rows, 3 + 2 + 1);
  EXPECT_FALSE(layout.segment_of[0][2]);
}

// Alternative targets of one prompt, the first one the stem of the others: longer and shorter than
// it, one token, one the beginning of another. With perturbations of the prompt, of both (of which
// the others share the prompt's part), and of the target alone.
Batch batch_of_alternatives(unsigned seed, std::int64_t prompt_length) {
  std::mt19937 random(seed);
  const auto below = [&](std::int64_t n) {
    return std::uniform_int_distribution<std::int32_t>(0, static_cast<std::int32_t>(n) - 1)(random);
  };
  Batch batch;
  batch.pieces.push_back(random_piece(random, 31, 2, 3));
  const BatchPiece prompt = random_piece(random, prompt_length, 1, 0);
  std::vector<std::vector<std::int32_t>> targets = {
      {5, 6, 7, 8}, {5, 6, 7, 9, 10, 11, 12}, {40}, {5, 6}, {13, 14, 15}};
  for (std::size_t i = 0; i < targets.size(); ++i) {
    BatchPiece piece = prompt;
    piece.sample_index = 2000 + static_cast<std::int64_t>(i);
    piece.target_ids = targets[i];
    piece.tokens.insert(piece.tokens.end(), targets[i].begin(), targets[i].end() - 1);
    if (i > 0) piece.stem = 1;
    const auto length = static_cast<std::int32_t>(prompt_length);
    for (std::int32_t position = 0; position < length; position += 1 + below(9))
      piece.perturbations.push_back({{position}});
    for (std::int32_t position = length; position < piece.fed_length(); ++position)
      piece.perturbations.push_back({{position}});
    if (length > 4) piece.perturbations.push_back({{2, 3, length, length + 1}});
    piece.perturbations.push_back({{length - 1}});
    batch.pieces.push_back(std::move(piece));
  }
  batch.pieces.push_back(random_piece(random, 9, 3, 2));
  return batch;
}

Batch without_stems(Batch batch) {
  for (BatchPiece& piece : batch.pieces)
    piece.stem.reset();
  return batch;
}

TEST_F(SweepTest, EqualsTheReferenceForAlternativeTargets) {
  for (const std::int64_t prompt_length : {std::int64_t{70}, std::int64_t{2}, std::int64_t{1}}) {
    const Batch batch = batch_of_alternatives(17, prompt_length);
    for (const auto& [name, suppression] : kSuppressions) {
      // Not what a planner would share.
      if (suppression.kind == SuppressionKind::ShiftedFull) continue;
      EXPECT_LT(largest_error(config_with_heads(6, 3), suppression, batch), 5e-5) << name;
    }
  }
  const DecoderConfig one_layer = config_with_heads(4, 2, /*layers=*/1);
  EXPECT_LT(largest_error(one_layer, {}, batch_of_alternatives(18, 40)), 5e-5);
}

TEST_F(SweepTest, AlternativesThatShareRowsAgreeWithThoseThatDoNot) {
  DecoderConfig config = config_with_heads(6, 3);
  config.layers[1].window = 20;
  const DecoderWeights weights = sharded(config, rounded_weights(config, 11), *ranks);
  const Batch batch = batch_of_alternatives(19, 150);
  // Similar keys of the targets get factors of their own, by the target.
  for (const double threshold : {0.0, 0.4}) {
    const Suppression suppression = {SuppressionKind::LogAdditive, 0.0, threshold};
    SweepEngine exact(config, weights, suppression);
    const BatchResult shared = exact.run(batch);
    const BatchResult alone = exact.run(without_stems(batch));
    for (std::size_t i = 0; i < batch.pieces.size(); ++i) {
      EXPECT_THAT(
          shared.pieces[i].base_log_prob,
          testing::Pointwise(testing::FloatNear(1e-5), alone.pieces[i].base_log_prob));
      EXPECT_THAT(
          shared.pieces[i].delta,
          testing::Pointwise(testing::FloatNear(1e-5), alone.pieces[i].delta));
    }
    // What is rounded to bfloat16 may be rounded otherwise in products of other shapes.
    SweepEngine rounded(config, weights, suppression, SweepCompute::Bfloat16Delta);
    EXPECT_LT(
        relative_error(
            all_deltas(rounded.run(batch)), all_deltas(rounded.run(without_stems(batch)))),
        0.02);
  }
}

TEST_F(SweepTest, AlternativesShareTheRowsOfTheirPrompt) {
  std::mt19937 random(20);
  BatchPiece first = random_piece(random, 12, 3, 0);
  first.perturbations = {{{3}}, {{5, 6}}};
  BatchPiece second = first;
  second.target_ids = {1, 2};
  second.tokens.resize(12);
  second.tokens.push_back(1);
  second.perturbations.push_back({{7}});
  second.stem = 0;
  const Batch batch = {0, {first, second}};
  const SweepLayout layout = lay_out_sweep(batch, batch_factors(batch, {}, {}), /*block_rows=*/1);
  // Of 14 and 13 fed rows the second's base has 2 of its own, and as many where the first is
  // suppressed at the same places; the place that only the second has takes all rows behind it.
  EXPECT_EQ(layout.num_base_rows, 14 + 2);
  EXPECT_EQ(layout.num_rows, layout.num_base_rows + (14 - 3) + 2 + (14 - 5) + 2 + (13 - 7));
  // Blocks are the bases', each shared perturbation's, and the last one's.
  EXPECT_EQ(layout.blocks.size(), 4U);
  EXPECT_THROW(lay_out_sweep({0, {second}}, {{}}, 1), InternalError);
  BatchPiece stranger = second;
  stranger.tokens[4] = (stranger.tokens[4] + 1) % 61;
  EXPECT_THROW(lay_out_sweep({0, {first, stranger}}, {{}, {}}, 1), InternalError);
}

TEST_F(SweepTest, EqualPerturbationsShareTheirRows) {
  std::mt19937 random(10);
  BatchPiece piece = random_piece(random, 12, 2, 0);
  piece.perturbations = {{{3}}, {{5, 6}}, {{3}}};
  std::vector<KeyFactors> factors;
  for (const Perturbation& perturbation : piece.perturbations) {
    factors.push_back(key_factors(perturbation, Suppression{}, piece.fed_length(), {}));
  }
  const SweepLayout layout = lay_out_sweep({0, {piece}}, {factors}, /*block_rows=*/16);
  ASSERT_EQ(layout.segments.size(), 3U);  // the base's, too
  EXPECT_EQ(layout.segment_of[0][0], layout.segment_of[0][2]);
  // 13 rows are fed; those before the first suppressed key are the base's.
  EXPECT_EQ(layout.num_rows, 13 + (13 - 3) + (13 - 5));
  EXPECT_EQ(layout.num_target_rows, 3 * 2);
}

TEST_F(SweepTest, GivesEveryRankTheSameResult) {
  const DecoderConfig config = config_with_heads(6, 3);
  const DecoderWeights weights = sharded(config, random_weights(config, 11), *ranks);
  SweepEngine engine(config, weights, kSuppressions[0].suppression);
  for (const PieceResult& piece : engine.run(random_batch(8)).pieces) {
    const at::Tensor mine = at::tensor(at::ArrayRef<float>(piece.delta));
    const at::Tensor all = ranks->all_gather(mine);
    for (int rank = 0; rank < ranks->size(); ++rank)
      EXPECT_TRUE(at::equal(all[rank], mine));
  }
}

}  // namespace limn::test
