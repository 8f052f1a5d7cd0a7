#include "tests/reference_decoder.h"

#include <cmath>
#include <limits>

#include <ATen/ATen.h>

namespace limn::test {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

at::Tensor norm(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  return x / (x * x).mean(-1, true).add(epsilon).sqrt() * weight;
}

// x [rows, heads, head_dim]
at::Tensor rotate(const at::Tensor& x, double theta) {
  const std::int64_t d = x.size(2);
  const at::Tensor pairs = at::arange(d / 2, at::kDouble);
  const at::Tensor frequency = at::pow(theta, pairs * (-2.0 / static_cast<double>(d)));
  const at::Tensor angle = at::outer(at::arange(x.size(0), at::kDouble), frequency).unsqueeze(1);
  const at::Tensor a = x.narrow(2, 0, d / 2);
  const at::Tensor b = x.narrow(2, d / 2, d / 2);
  return at::cat({a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()}, 2);
}

// s [heads, rows, keys]
at::Tensor suppressed(
    const at::Tensor& s,
    const at::Tensor& factors,
    const at::Tensor& future,
    SuppressionKind kind) {
  at::Tensor changed;
  switch (kind) {
    case SuppressionKind::LogAdditive:
      changed = s + factors.log();
      break;
    case SuppressionKind::Multiplicative:
      changed = factors * s;
      break;
    case SuppressionKind::Shifted: {
      const at::Tensor m = s.masked_fill(future, kInfinity).amin(-1, true);
      changed = m + factors * (s - m);
      break;
    }
    case SuppressionKind::ShiftedFull: {
      const at::Tensor m = s.amin(-1, true);
      changed = m + factors * (s - m);
      break;
    }
  }
  return at::where(factors == 1, s, changed);
}

at::Tensor attention(
    const DecoderConfig& config,
    const ReferenceLayer& layer,
    const at::Tensor& x,
    SuppressionKind kind,
    const at::Tensor& factors) {
  const std::int64_t rows = x.size(0);
  const auto heads = [&](const at::Tensor& weight) {
    return at::matmul(x, weight.t()).view({rows, -1, config.head_dim});
  };
  const std::int64_t shared = config.num_heads / config.num_kv_heads;
  const at::Tensor q = rotate(heads(layer.query), config.ropes[0].theta).transpose(0, 1);
  const at::Tensor k =
      rotate(heads(layer.key), config.ropes[0].theta).transpose(0, 1).repeat_interleave(shared, 0);
  const at::Tensor v = heads(layer.value).transpose(0, 1).repeat_interleave(shared, 0);

  const at::Tensor s =
      at::matmul(q, k.transpose(1, 2)) / std::sqrt(static_cast<double>(config.head_dim));
  const at::Tensor future = at::ones({rows, rows}, at::kBool).triu(1);
  const at::Tensor seen = suppressed(s, factors, future, kind).masked_fill(future, -kInfinity);
  const at::Tensor weights = at::softmax(seen, -1);
  // A row all of whose keys are hidden: 0, not 0/0.
  const at::Tensor hidden = (seen == -kInfinity).all(-1, true);
  return at::matmul(at::where(hidden, 0.0, weights), v).transpose(0, 1).reshape({rows, -1});
}

}  // namespace

ReferenceWeights random_weights(const DecoderConfig& config, unsigned seed) {
  auto generator = at::detail::createCPUGenerator(seed);
  const auto matrix = [&](std::int64_t out, std::int64_t in) {
    // Rounded to float32, so that both sides compute with the same numbers.
    const double scale = 1.4 / std::sqrt(static_cast<double>(in));
    return (at::randn({out, in}, generator) * scale).to(at::kDouble);
  };
  const auto gain = [&] {
    return (1 + 0.3 * at::randn({config.hidden}, generator)).to(at::kDouble);
  };
  const std::int64_t query_width = config.num_heads * config.head_dim;
  const std::int64_t kv_width = config.num_kv_heads * config.head_dim;

  ReferenceWeights weights;
  weights.embedding = at::randn({config.vocab_size, config.hidden}, generator).to(at::kDouble);
  for (std::int64_t i = 0; i < config.num_layers(); ++i) {
    weights.layers.push_back(
        {.attention_norm = gain(),
         .query = matrix(query_width, config.hidden),
         .key = matrix(kv_width, config.hidden),
         .value = matrix(kv_width, config.hidden),
         .out = matrix(config.hidden, query_width),
         .mlp_norm = gain(),
         .gate = matrix(config.inner, config.hidden),
         .up = matrix(config.inner, config.hidden),
         .down = matrix(config.hidden, config.inner)});
  }
  weights.final_norm = gain();
  weights.head = matrix(config.vocab_size, config.hidden);
  return weights;
}

at::Tensor reference_log_probs(
    const DecoderConfig& config,
    const ReferenceWeights& weights,
    const BatchPiece& piece,
    SuppressionKind kind,
    const at::Tensor& factors) {
  const at::Tensor tokens =
      at::tensor(at::ArrayRef<std::int32_t>(piece.tokens), at::kInt).to(at::kLong);
  at::Tensor x = weights.embedding.index_select(0, tokens);
  for (const ReferenceLayer& layer : weights.layers) {
    const at::Tensor a =
        attention(config, layer, norm(x, layer.attention_norm, config.norm_epsilon), kind, factors);
    x = x + at::matmul(a, layer.out.t());
    const at::Tensor y = norm(x, layer.mlp_norm, config.norm_epsilon);
    const at::Tensor inner = at::silu(at::matmul(y, layer.gate.t())) * at::matmul(y, layer.up.t());
    x = x + at::matmul(inner, layer.down.t());
  }
  x = norm(x, weights.final_norm, config.norm_epsilon);
  const at::Tensor log_probs = at::log_softmax(at::matmul(x, weights.head.t()), -1);
  const at::Tensor targets =
      at::tensor(at::ArrayRef<std::int32_t>(piece.target_ids), at::kInt).to(at::kLong);
  return log_probs.narrow(0, piece.first_target_row(), piece.num_targets())
      .gather(1, targets.unsqueeze(1))
      .squeeze(1);
}

at::Tensor reference_factors(
    const BatchPiece& piece, const Perturbation& perturbation, const Suppression& suppression) {
  at::Tensor factors = at::ones({piece.fed_length()}, at::kDouble);
  for (const std::int32_t position : perturbation.positions) {
    const bool spared = position == 0 && suppression.spare_first_token;
    if (position < piece.fed_length() && !spared) factors[position] = suppression.factor;
  }
  return factors;
}

}  // namespace limn::test
