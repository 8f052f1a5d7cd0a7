#include "worker/decoder_forward.h"

#include <optional>
#include <utility>
#include <variant>

#include <ATen/ATen.h>

#include "storage/error.h"
#include "worker/alibi.h"

namespace limn {

namespace {

// [rows, heads, head_dim] -> the same
at::Tensor normed_heads(const std::optional<HeadNorm>& norm, const at::Tensor& x) {
  if (!norm) return x;
  return std::visit([&](const auto& kind) { return kind(x); }, *norm);
}

}  // namespace

DecoderForward::DecoderForward(const DecoderConfig& config, const DecoderWeights& weights)
    : config_(config),
      weights_(weights) {
  for (const RopeConfig& rope : config.ropes)
    rotaries_.emplace_back(rope, config.max_positions, device());
}

at::Tensor DecoderForward::embed(const at::Tensor& embeddings, const at::Tensor& positions) const {
  // Rounded to the dtype of the weights, as the models were trained.
  const at::Tensor scale =
      at::full({1}, config_.embedding_scale, weights_.embedding.weight.options()).to(at::kFloat);
  at::Tensor x = embeddings * scale;
  if (weights_.project_in.defined()) x = product(x, weights_.project_in.to(at::kFloat));
  if (weights_.positions.defined()) {
    x = x + weights_.positions.index_select(0, positions + config_.position_offset).to(at::kFloat);
  }
  return weights_.embedding_norm ? (*weights_.embedding_norm)(x) : x;
}

Projections Projections::rows(const at::Tensor& indices) const {
  return {
      queries.index_select(0, indices),
      keys.index_select(0, indices),
      values.index_select(0, indices)};
}

at::Tensor DecoderForward::key_bias(std::int64_t num_keys) const {
  if (config_.position != PositionKind::Alibi) return {};
  return moved_to(
      device(),
      alibi_bias(
          config_.alibi,
          config_.num_heads,
          weights_.heads.query_heads,
          num_keys,
          config_.layers.front().attention_scale));
}

AttentionOptions DecoderForward::attention_options(
    std::size_t layer_index, const LayerWeights& layer, const at::Tensor& key_bias) const {
  const LayerConfig& config = config_.layers[layer_index];
  return {
      .heads = weights_.heads.runs,
      .scale = config.attention_scale,
      .window = config.window,
      .softcap = config_.attention_softcap,
      .key_bias = key_bias,
      .sinks = layer.attention.sinks};
}

Projections DecoderForward::project(
    const LayerWeights& layer,
    const LayerPass& pass,
    const RowBlock& block,
    RowArithmetic& rows,
    const at::Tensor& x) const {
  const std::int64_t num_heads = weights_.heads.query_heads.size();
  const std::int64_t num_kv_heads = weights_.heads.kv_heads.size();
  // [rows, (heads + 2 kv_heads)/t * head_dim]
  const at::Tensor all = rows.projections(layer.attention.query_key_value, x);
  std::vector<at::Tensor> qkv = all.view({all.size(0), num_heads + 2 * num_kv_heads, -1})
                                    .split_with_sizes({num_heads, num_kv_heads, num_kv_heads}, 1);
  Projections projections{
      normed_heads(layer.attention.query_norm, qkv[0]),
      normed_heads(layer.attention.key_norm, qkv[1]),
      qkv[2]};
  if (!rotaries_.empty()) {
    const RotaryEmbedding& rotary = rotaries_[config_.layers[pass.index].rope];
    const at::Tensor positions = rows_of(pass.layout.positions, block.rows);
    const at::Tensor fed_lengths = rows_of(pass.layout.fed_lengths, block.rows);
    rotary.rotate(projections.queries, positions, fed_lengths);
    rotary.rotate(projections.keys, positions, fed_lengths);
  }
  return projections;
}

at::Tensor DecoderForward::through_layer(
    const LayerWeights& layer,
    LayerPass& pass,
    const RowBlock& block,
    RowArithmetic& rows,
    at::Tensor x) const {
  // Beyond the last layer's keys and values nothing but the target rows is needed.
  const bool is_last = pass.index + 1 == config_.layers.size();
  const auto needed = [&](const at::Tensor& all) {
    if (!is_last) return all;
    const at::Tensor target_row = rows_of(pass.layout.target_row, block.target_rows);
    return all.index_select(0, target_row - block.rows.begin);
  };
  const auto attention = [&](at::Tensor input) {
    Projections qkv;
    if (pass.index == 0 && !block.is_base) {
      // Layer 0 sees the same inputs under every perturbation.
      qkv = pass.base_projections.rows(rows_of(pass.layout.base_row, block.rows));
    } else {
      qkv = project(layer, pass, block, rows, input);
    }
    if (pass.index == 0 && block.is_base) pass.base_projections = qkv;
    input.reset();
    // [rows, ...] -> [keys, ...]
    const auto keys_of = [&](const at::Tensor& all) {
      if (!block.shares_rows()) return all;
      return all.index_select(0, rows_of(pass.layout.key_row, block.keys) - block.rows.begin);
    };
    const at::Tensor values = pass.attention->attend(
        block,
        is_last ? RowSet::Targets : RowSet::All,
        needed(qkv.queries),
        keys_of(qkv.keys),
        keys_of(qkv.values));
    qkv = {};
    if (is_last) rows.keep_targets();
    const at::Tensor out = rows.attention_out(layer.attention.out, values);
    return rows.norm(Stage::AttentionOutNorm, layer.attention_out_norm, out, at::kFloat);
  };
  const bool feeds_products =
      config_.residual == ResidualKind::Sequential || config_.residual == ResidualKind::Parallel;
  const auto in_norm = [&](const at::Tensor& input) {
    const at::ScalarType out =
        feeds_products ? layer.attention.query_key_value.input_dtype() : at::kFloat;
    return rows.norm(Stage::AttentionInNorm, layer.attention_in_norm, input, out);
  };
  const auto mlp_in_norm = [&](const at::Tensor& input) {
    // A router is float32.
    const Mlp* const dense = std::get_if<Mlp>(&layer.mlp);
    const at::ScalarType out =
        feeds_products && dense != nullptr ? dense->up.input_dtype() : at::kFloat;
    return rows.norm(Stage::MlpInNorm, layer.mlp_in_norm, input, out);
  };

  const auto sum = [&](const at::Tensor& stream, const at::Tensor& branch) {
    return combined_rows(branch, config_.residual_multiplier, {.base = {stream, {}}});
  };

  switch (config_.residual) {
    case ResidualKind::Sequential: {
      x = sum(needed(x), attention(in_norm(x)));
      const at::Tensor z = rows.mlp(layer, mlp_in_norm(x));
      return sum(x, rows.norm(Stage::MlpOutNorm, layer.mlp_out_norm, z, at::kFloat));
    }
    case ResidualKind::Parallel: {
      const at::Tensor a = attention(in_norm(x));
      x = needed(x);
      const at::Tensor z = rows.mlp(layer, mlp_in_norm(x));
      return sum(sum(x, a), z);
    }
    case ResidualKind::PostNorm: {
      x = in_norm(sum(needed(x), attention(x)));
      return mlp_in_norm(sum(x, rows.mlp(layer, x)));
    }
    case ResidualKind::Normed: {
      x = in_norm(x);
      x = mlp_in_norm(sum(needed(x), attention(x)));
      return sum(x, rows.mlp(layer, x));
    }
  }
  throw InternalError("a residual stream without a forward pass");
}

at::Tensor DecoderForward::head_input(RowArithmetic& rows, const at::Tensor& x) const {
  const at::Tensor normed = rows.norm(Stage::FinalNorm, weights_.final_norm, x, at::kFloat);
  if (!weights_.project_out.defined()) return normed;
  return product(normed, weights_.project_out.to(at::kFloat));
}

}  // namespace limn
