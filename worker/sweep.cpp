#include "worker/sweep.h"

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include <ATen/ATen.h>

#include "storage/error.h"
#include "worker/alibi.h"
#include "worker/sweep_attention.h"

namespace limn {

namespace {

// Those of the slice.
at::Tensor rows_of(const at::Tensor& all, const Slice& slice) {
  return all.narrow(0, slice.begin, slice.size());
}

// [rows, heads, head_dim] -> the same
at::Tensor normed_heads(const std::optional<HeadNorm>& norm, const at::Tensor& x) {
  if (!norm) return x;
  return std::visit([&](const auto& kind) { return kind(x); }, *norm);
}

// Reads the targets of a segment from the log-probabilities of all target rows. Targets that are
// read before `first_row` keep the base's value.
void add_deltas(
    const Segment& base,
    const Segment& segment,
    std::int64_t first_row,
    const double* log_prob,
    std::vector<float>& delta) {
  for (std::int64_t row = base.target_row_begin; row < base.row_end; ++row) {
    if (row < first_row) {
      delta.push_back(0);
      continue;
    }
    const double before = log_prob[base.target_packed_begin + row - base.target_row_begin];
    const double after = log_prob[segment.target_packed_begin + row - segment.target_row_begin];
    delta.push_back(static_cast<float>(before - after));
  }
}

PieceResult piece_result(
    const BatchPiece& piece,
    const SweepLayout& layout,
    std::size_t sample,
    const double* log_prob) {
  const Segment& base = layout.segments[sample];
  PieceResult result;
  result.sample_index = piece.sample_index;
  result.perturbation_begin = piece.perturbation_begin;
  for (std::int64_t i = 0; i < piece.num_targets(); ++i) {
    result.base_log_prob.push_back(static_cast<float>(log_prob[base.target_packed_begin + i]));
  }
  for (std::size_t k = 0; k < piece.perturbations.size(); ++k) {
    const std::optional<std::size_t> index = layout.segment_of[sample][k];
    if (!index) {
      result.delta.insert(result.delta.end(), result.base_log_prob.size(), 0);
      continue;
    }
    const Segment& segment = layout.segments[*index];
    // Before its first row a segment sees no suppressed key. Correlated suppression may reach keys
    // before the perturbation's own; that says nothing of targets which those come after.
    const std::int64_t first_row =
        std::max<std::int64_t>(segment.target_row_begin, piece.perturbations[k].positions.front());
    add_deltas(base, segment, first_row, log_prob, result.delta);
  }
  return result;
}

at::Tensor token_tensor(const Batch& batch) {
  std::vector<std::int64_t> tokens;
  for (const BatchPiece& piece : batch.pieces) {
    tokens.insert(tokens.end(), piece.tokens.begin(), piece.tokens.end());
  }
  return at::tensor(tokens, at::kLong);
}

// For rows that are differences, behind the base's layer.
LayerWeights layer_of_differences(
    const LayerWeights& kept, const LayerWeights& base, SweepCompute compute) {
  LayerWeights layer =
      compute == SweepCompute::Float8Delta ? in_float8(kept) : with_dtype(kept, at::kBFloat16);
  if (std::holds_alternative<ExpertMlp>(layer.mlp)) layer.mlp = base.mlp;
  return layer;
}

// Of all blocks and windows of a sweep, on its device, made when they are first asked for.
class BlockIndices {
 public:
  // Borrows: the layout.
  BlockIndices(const SweepLayout& layout, SuppressionKind suppression, at::Device device)
      : layout_(layout),
        suppression_(suppression),
        device_(device) {}

  DifferenceRows::Rows of(const RowBlock& block, RowSet rows, std::int64_t window) {
    return {
        rows == RowSet::All ? rows_of(layout_.base_row, block.rows)
                            : rows_of(layout_.base_target_row, block.target_rows),
        hidden(block, rows, window),
        order(block, rows)};
  }

 private:
  const at::Tensor& hidden(const RowBlock& block, RowSet rows, std::int64_t window) {
    at::Tensor& hidden = hidden_[{block.segment_begin, rows, window}];
    if (!hidden.defined()) {
      hidden = moved_to(device_, hidden_rows(layout_, block, rows, window, suppression_));
    }
    return hidden;
  }

  at::Tensor order(const RowBlock& block, RowSet rows) {
    if (device_.is_cpu()) return {};
    at::Tensor& order = order_[{block.segment_begin, rows}];
    if (!order.defined()) order = moved_to(device_, rows_by_base(layout_, block, rows));
    return order;
  }

  const SweepLayout& layout_;
  SuppressionKind suppression_;
  at::Device device_;
  std::map<std::tuple<std::size_t, RowSet, std::int64_t>, at::Tensor> hidden_;
  std::map<std::pair<std::size_t, RowSet>, at::Tensor> order_;
};

}  // namespace

SweepEngine::SweepEngine(
    const DecoderConfig& config,
    const DecoderWeights& weights,
    const Suppression& suppression,
    SweepCompute compute)
    : SweepEngine(config, weights, resident_, suppression, compute) {}

SweepEngine::SweepEngine(
    const DecoderConfig& config,
    const DecoderWeights& weights,
    LayerSource& layers,
    const Suppression& suppression,
    SweepCompute compute)
    : config_(config),
      weights_(weights),
      resident_(weights.layers),
      layers_(layers),
      suppression_(suppression),
      compute_(compute) {
  for (const RopeConfig& rope : config.ropes)
    rotaries_.emplace_back(rope, config.max_positions, device());
}

BatchResult SweepEngine::run(const Batch& batch) {
  const c10::InferenceMode no_autograd;
  // [base_rows, hidden]
  at::Tensor embeddings = weights_.embedding(moved_to(device(), token_tensor(batch)));
  SweepLayout layout = lay_out_sweep(
      batch, batch_factors(batch, suppression_, embeddings), sweep_block_rows(device()));
  layout.move_to(device());
  at::Tensor log_probs = target_log_probs(layout, std::move(embeddings));
  // A partner that fails would leave a GPU waiting, and with it a copy.
  weights_.embedding.tensor_ranks->synchronize();
  log_probs = log_probs.to(at::kCPU).contiguous();

  BatchResult result{batch.id, {}};
  for (std::size_t i = 0; i < batch.pieces.size(); ++i) {
    result.pieces.push_back(
        piece_result(batch.pieces[i], layout, i, log_probs.const_data_ptr<double>()));
  }
  return result;
}

at::Tensor SweepEngine::embed(const at::Tensor& embeddings, const at::Tensor& positions) const {
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

SweepEngine::Projections SweepEngine::Projections::rows(const at::Tensor& indices) const {
  return {
      queries.index_select(0, indices),
      keys.index_select(0, indices),
      values.index_select(0, indices)};
}

// [heads/t, the longest sequence's keys]; undefined where positions are not keys' biases.
at::Tensor SweepEngine::key_bias_of(const SweepLayout& layout) const {
  if (config_.position != PositionKind::Alibi) return {};
  std::int64_t longest = 0;
  for (const Segment& segment : layout.segments)
    longest = std::max(longest, segment.row_end);
  return moved_to(
      device(),
      alibi_bias(
          config_.alibi,
          config_.num_heads,
          weights_.heads.query_heads,
          longest,
          config_.layers.front().attention_scale));
}

AttentionOptions SweepEngine::attention_options(
    const LayerConfig& config, const LayerWeights& layer, const at::Tensor& key_bias) const {
  return {
      .heads = weights_.heads.runs,
      .scale = config.attention_scale,
      .window = config.window,
      .softcap = config_.attention_softcap,
      .key_bias = key_bias,
      .sinks = layer.attention.sinks,
      .suppression = suppression_.kind};
}

SweepEngine::Projections SweepEngine::project(
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

at::Tensor SweepEngine::forward(
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

at::Tensor SweepEngine::target_log_probs(const SweepLayout& layout, at::Tensor embeddings) {
  const bool is_difference = is_delta(compute_);
  const at::ScalarType base_dtype = compute_ == SweepCompute::Bfloat16 ? at::kBFloat16 : at::kFloat;
  const at::Tensor key_bias = key_bias_of(layout);

  // The residual stream: of the base, and of all other rows in packed order.
  if (layout.blocks[0].shares_rows()) embeddings = embeddings.index_select(0, layout.fed_token);
  at::Tensor base_x = embed(embeddings, layout.positions.narrow(0, 0, layout.num_base_rows));
  embeddings.reset();
  std::vector<at::Tensor> x(layout.blocks.size());
  for (std::size_t i = 1; i < layout.blocks.size(); ++i) {
    const Slice& rows = layout.blocks[i].rows;
    x[i] = is_difference ? at::zeros({rows.size(), config_.hidden}, base_x.options())
                         : base_x.index_select(0, rows_of(layout.base_row, rows));
  }

  SweepAttention attention(
      layout, weights_.heads.runs, config_.head_dim, compute_, device(), buffers_);
  BlockIndices indices(layout, suppression_.kind, device());
  for (std::size_t l = 0; l < config_.layers.size(); ++l) {
    const LayerWeights kept = layers_.layer(l);
    LayerWeights layer = with_dtype(kept, base_dtype);
    LayerPass pass{
        .index = l,
        .layout = layout,
        .attention = attention.layer(attention_options(config_.layers[l], kept, key_bias))};
    BaseTrace trace;
    ValueRows base_rows(is_difference ? &trace : nullptr);
    base_x = forward(layer, pass, layout.blocks[0], base_rows, std::move(base_x));
    if (is_difference) layer = layer_of_differences(kept, layer, compute_);
    for (std::size_t i = 1; i < layout.blocks.size(); ++i) {
      const RowBlock& block = layout.blocks[i];
      if (is_difference) {
        const std::int64_t window = config_.layers[l].window;
        DifferenceRows rows(
            trace,
            indices.of(block, RowSet::All, window),
            indices.of(block, RowSet::Targets, window));
        x[i] = forward(layer, pass, block, rows, std::move(x[i]));
      } else {
        ValueRows rows;
        x[i] = forward(layer, pass, block, rows, std::move(x[i]));
      }
    }
  }

  const Slice base_targets = layout.blocks[0].target_rows;
  const auto log_probs = [&](RowArithmetic& rows, at::Tensor of_rows, const at::Tensor& ids) {
    of_rows = rows.norm(Stage::FinalNorm, weights_.final_norm, of_rows, at::kFloat);
    if (weights_.project_out.defined()) {
      of_rows = product(of_rows, weights_.project_out.to(at::kFloat));
    }
    return rows.log_probs(weights_.head, of_rows, ids);
  };
  BaseTrace trace;
  ValueRows base_rows(is_difference ? &trace : nullptr);
  at::Tensor base =
      log_probs(base_rows, std::move(base_x), rows_of(layout.target_ids, base_targets));
  if (layout.blocks.size() == 1) return base;

  const Slice targets{base_targets.end, layout.num_target_rows};
  const at::Tensor ids = rows_of(layout.target_ids, targets);
  x.erase(x.begin());
  at::Tensor perturbed_x = at::cat(x);  // [perturbed target rows, hidden]
  x.clear();
  const at::Tensor base_row = rows_of(layout.base_target_row, targets);
  if (!is_difference) return at::cat({base, log_probs(base_rows, std::move(perturbed_x), ids)});
  DifferenceRows rows(trace, {.base_row = base_row}, {});
  return at::cat({base, log_probs(rows, std::move(perturbed_x), ids)});
}

}  // namespace limn
