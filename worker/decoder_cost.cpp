#include "worker/decoder_cost.h"

#include <algorithm>

namespace limn {

namespace {

// The elements of the matrices that a row of a layer meets.

double attention_weights(const DecoderConfig& config) {
  const std::int64_t query_heads_and_out = 2 * config.num_heads;
  const std::int64_t key_and_value_heads = 2 * config.num_kv_heads;
  return static_cast<double>(
      config.hidden * config.head_dim * (query_heads_and_out + key_and_value_heads));
}

double mlp_weights(const DecoderConfig& config) {
  const std::int64_t num_matrices = config.mlp == MlpKind::Gated ? 3 : 2;
  return static_cast<double>(num_matrices * config.hidden * config.inner);
}

// Experts are gated.
double expert_weights(const DecoderConfig& config, const ExpertsConfig& experts) {
  return static_cast<double>(
      config.hidden * (experts.num_experts + experts.num_chosen * 3 * experts.inner));
}

}  // namespace

SweepCost sweep_cost(const DecoderConfig& config) {
  double weights = 0;
  for (const LayerConfig& layer : config.layers) {
    weights += attention_weights(config);
    weights +=
        layer.has_experts ? expert_weights(config, config.experts.value()) : mlp_weights(config);
  }
  // A query times a key, and a probability times a value.
  const double products_of_key = static_cast<double>(2 * config.head_dim * config.num_heads);
  // The angles of LongRope depend on how long the whole sequence is.
  const bool is_causal = std::ranges::none_of(
      config.ropes, [](const RopeConfig& rope) { return rope.scaling == RopeScaling::LongRope; });
  return {
      .per_row = 2 * weights,
      .per_key = 2 * products_of_key * static_cast<double>(config.num_layers()),
      .is_causal = is_causal};
}

}  // namespace limn
