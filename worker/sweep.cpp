#include "worker/sweep.h"

#include <cmath>
#include <vector>

#include <ATen/ATen.h>

#include "worker/suppressed_attention.h"

namespace limn {

namespace {

// Root mean square normalisation (Zhang and Sennrich 2019): x / sqrt(mean(x^2) + epsilon) * weight.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  const at::Tensor mean_square = x.square().mean(-1, /*keepdim=*/true);
  return (x * mean_square.add_(epsilon).rsqrt_()).mul_(weight);
}

// SwiGLU (Shazeer 2020): down(silu(gate x) * up x).
at::Tensor gated_mlp(const LayerWeights& layer, const at::Tensor& x) {
  const std::vector<at::Tensor> gate_up = layer.gate_up(x).chunk(2, 1);  // 2 x [rows, inner/t]
  return layer.down(at::silu(gate_up[0]).mul_(gate_up[1]));
}

// Queries, keys and values of some rows, each [rows, heads, head_dim].
struct Projections {
  at::Tensor queries;
  at::Tensor keys;
  at::Tensor values;

  Projections rows(const at::Tensor& indices) const {
    return {
        queries.index_select(0, indices),
        keys.index_select(0, indices),
        values.index_select(0, indices)};
  }
};

// The projections of `normed` [rows, hidden], rotated to the rows' positions.
Projections project(
    const LayerWeights& layer,
    const at::Tensor& normed,
    const HeadShard& heads,
    const RotaryEmbedding& rotary,
    const at::Tensor& positions) {
  const std::int64_t num_heads = heads.query_heads.size();
  const std::int64_t num_kv_heads = heads.kv_heads.size();
  const at::Tensor all =
      layer.query_key_value(normed);  // [rows, (heads + 2 kv_heads)/t * head_dim]
  const std::vector<at::Tensor> qkv =
      all.view({all.size(0), num_heads + 2 * num_kv_heads, -1})
          .split_with_sizes({num_heads, num_kv_heads, num_kv_heads}, 1);
  return {rotary.rotate(qkv[0], positions), rotary.rotate(qkv[1], positions), qkv[2]};
}

// Reads the targets of a segment from the log-probabilities of all target rows. Targets before the
// segment's first row see no suppressed key and keep the base's value.
void add_deltas(
    const Segment& base,
    const Segment& segment,
    const double* log_prob,
    std::vector<float>& delta) {
  for (std::int64_t row = base.target_row_begin; row < base.row_end; ++row) {
    if (row < segment.target_row_begin) {
      delta.push_back(0);
      continue;
    }
    const double before = log_prob[base.target_packed_begin + row - base.target_row_begin];
    const double after = log_prob[segment.target_packed_begin + row - segment.target_row_begin];
    delta.push_back(static_cast<float>(before - after));
  }
}

PieceResult piece_result(
    const BatchPiece& piece, const SampleSegments& sample, const double* log_prob) {
  PieceResult result;
  result.sample_index = piece.sample_index;
  result.perturbation_begin = piece.perturbation_begin;
  for (std::int64_t i = 0; i < piece.num_targets(); ++i) {
    result.base_log_prob.push_back(
        static_cast<float>(log_prob[sample.base.target_packed_begin + i]));
  }
  for (const auto& index : sample.segment_of) {
    // A perturbation that touches no key leaves every value as it is.
    const Segment untouched{.target_row_begin = sample.base.row_end};
    add_deltas(sample.base, index ? sample.perturbed[*index] : untouched, log_prob, result.delta);
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

// The factors of every perturbation of every piece. `embeddings` [base_rows, hidden], piece by
// piece.
std::vector<std::vector<KeyFactors>> factors_of(
    const Batch& batch, const Suppression& suppression, const at::Tensor& embeddings) {
  std::vector<std::vector<KeyFactors>> factors;
  std::int64_t row = 0;
  for (const BatchPiece& piece : batch.pieces) {
    at::Tensor similarity;
    if (suppression.similarity_threshold > 0) {
      similarity = embedding_similarity(embeddings.narrow(0, row, piece.fed_length()));
    }
    auto& of_piece = factors.emplace_back();
    for (const Perturbation& perturbation : piece.perturbations) {
      of_piece.push_back(key_factors(perturbation, suppression, piece.fed_length(), similarity));
    }
    row += piece.fed_length();
  }
  return factors;
}

}  // namespace

SweepEngine::SweepEngine(
    const DecoderConfig& config, const DecoderWeights& weights, const Suppression& suppression)
    : config_(config),
      weights_(weights),
      suppression_(suppression),
      rotary_(config.rope, config.head_dim, config.max_positions) {}

BatchResult SweepEngine::run(const Batch& batch) {
  const c10::InferenceMode no_autograd;
  const at::Tensor embeddings = weights_.embedding(token_tensor(batch));  // [base_rows, hidden]
  const SweepLayout layout = lay_out_sweep(batch, factors_of(batch, suppression_, embeddings));
  const at::Tensor log_probs = target_log_probs(layout, embeddings).contiguous();

  BatchResult result{batch.id, {}};
  for (std::size_t i = 0; i < batch.pieces.size(); ++i) {
    result.pieces.push_back(
        piece_result(batch.pieces[i], layout.samples[i], log_probs.const_data_ptr<double>()));
  }
  return result;
}

at::Tensor SweepEngine::target_log_probs(
    const SweepLayout& layout, const at::Tensor& embeddings) const {
  const AttentionOptions attention{
      .heads = weights_.heads.runs,
      .scale = 1 / std::sqrt(static_cast<double>(config_.head_dim)),
      .suppression = suppression_.kind};
  const at::Tensor base_positions = layout.positions.narrow(0, 0, layout.num_base_rows);

  at::Tensor x = embeddings;  // [base_rows, hidden]
  for (std::size_t l = 0; l < weights_.layers.size(); ++l) {
    const LayerWeights& layer = weights_.layers[l];
    const bool is_first = l == 0;
    const bool is_last = l + 1 == weights_.layers.size();

    // Layer 0 sees the same inputs under every perturbation: its projections are computed once.
    Projections qkv = project(
        layer,
        rms_norm(x, layer.attention_norm, config_.norm_epsilon),
        weights_.heads,
        rotary_,
        is_first ? base_positions : layout.positions);
    if (is_first) {
      qkv = qkv.rows(layout.base_row);
      x = x.index_select(0, layout.base_row);  // [rows, hidden]
    }
    // Beyond the last layer's keys and values nothing but the target rows is needed.
    if (is_last) {
      qkv.queries = qkv.queries.index_select(0, layout.target_row);
      x = x.index_select(0, layout.target_row);  // [target_rows, hidden]
    }
    const at::Tensor a = suppressed_attention(
        qkv.queries,
        qkv.keys,
        qkv.values,
        layout,
        is_last ? RowSet::Targets : RowSet::All,
        attention);
    x = x + layer.attention_out(a.flatten(1));
    x = x + gated_mlp(layer, rms_norm(x, layer.mlp_norm, config_.norm_epsilon));
  }
  return weights_.head(rms_norm(x, weights_.final_norm, config_.norm_epsilon), layout.target_ids);
}

}  // namespace limn
