#include "worker/sweep.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include <ATen/ATen.h>

#include "worker/alibi.h"
#include "worker/suppressed_attention.h"

namespace limn {

namespace {

at::Tensor normed(const std::optional<Norm>& norm, const at::Tensor& x) {
  return norm ? (*norm)(x) : x;
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

// [rows, heads, head_dim] -> the same
at::Tensor normed_heads(const std::optional<HeadNorm>& norm, const at::Tensor& x) {
  if (!norm) return x;
  return std::visit([&](const auto& kind) { return kind(x); }, *norm);
}

at::Tensor mlp_of(const LayerWeights& layer, const at::Tensor& x) {
  return std::visit([&](const auto& kind) { return kind(x); }, layer.mlp);
}

// Positions of some rows, and the lengths of their sequences: [rows] int64.
struct RowPlaces {
  at::Tensor positions;
  at::Tensor fed_lengths;
};

// The projections of x [rows, hidden], their heads normed and rotated. Without rotary
// positions `rotary` is null.
Projections project(
    const AttentionWeights& attention,
    const at::Tensor& x,
    const HeadShard& heads,
    const RotaryEmbedding* rotary,
    const RowPlaces& places) {
  const std::int64_t num_heads = heads.query_heads.size();
  const std::int64_t num_kv_heads = heads.kv_heads.size();
  const at::Tensor all = attention.query_key_value(x);  // [rows, (heads + 2 kv_heads)/t * head_dim]
  const std::vector<at::Tensor> qkv =
      all.view({all.size(0), num_heads + 2 * num_kv_heads, -1})
          .split_with_sizes({num_heads, num_kv_heads, num_kv_heads}, 1);
  const auto rotated = [&](const at::Tensor& heads_of) {
    return rotary == nullptr ? heads_of
                             : rotary->rotate(heads_of, places.positions, places.fed_lengths);
  };
  return {
      rotated(normed_heads(attention.query_norm, qkv[0])),
      rotated(normed_heads(attention.key_norm, qkv[1])),
      qkv[2]};
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
      suppression_(suppression) {
  for (const RopeConfig& rope : config.ropes)
    rotaries_.emplace_back(rope, config.max_positions);
}

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

at::Tensor SweepEngine::embed(const at::Tensor& embeddings, const at::Tensor& positions) const {
  // Rounded to the dtype of the weights, as the models were trained.
  const at::Tensor scale =
      at::full({1}, config_.embedding_scale, weights_.embedding.weight.scalar_type())
          .to(at::kFloat);
  at::Tensor x = embeddings * scale;
  if (weights_.project_in.defined()) x = product(x, weights_.project_in);
  if (weights_.positions.defined()) {
    x = x + weights_.positions.index_select(0, positions + config_.position_offset).to(at::kFloat);
  }
  return normed(weights_.embedding_norm, x);
}

AttentionOptions SweepEngine::attention_options(
    std::size_t layer, const SweepLayout& layout) const {
  AttentionOptions options{
      .heads = weights_.heads.runs,
      .scale = config_.layers[layer].attention_scale,
      .window = config_.layers[layer].window,
      .softcap = config_.attention_softcap,
      .sinks = weights_.layers[layer].attention.sinks,
      .suppression = suppression_.kind};
  if (config_.position == PositionKind::Alibi) {
    std::int64_t longest = 0;
    for (const SampleSegments& sample : layout.samples) {
      longest = std::max(longest, sample.base.row_end);
    }
    options.key_bias = alibi_bias(
        config_.alibi, config_.num_heads, weights_.heads.query_heads, longest, options.scale);
  }
  return options;
}

at::Tensor SweepEngine::target_log_probs(
    const SweepLayout& layout, const at::Tensor& embeddings) const {
  const RowPlaces places{layout.positions, layout.fed_lengths};
  const RowPlaces base_places{
      places.positions.narrow(0, 0, layout.num_base_rows),
      places.fed_lengths.narrow(0, 0, layout.num_base_rows)};
  const double m = config_.residual_multiplier;

  at::Tensor x = embed(embeddings, base_places.positions);  // [base_rows, hidden]
  for (std::size_t l = 0; l < weights_.layers.size(); ++l) {
    const LayerWeights& layer = weights_.layers[l];
    const bool is_first = l == 0;
    const bool is_last = l + 1 == weights_.layers.size();

    // Layer 0 sees the same inputs under every perturbation: its projections are computed once.
    // Beyond the last layer's keys and values nothing but the target rows is needed.
    const auto needed = [&](at::Tensor rows) {
      if (is_first) rows = rows.index_select(0, layout.base_row);
      if (is_last) rows = rows.index_select(0, layout.target_row);
      return rows;
    };
    const auto attention = [&](const at::Tensor& input) {
      Projections qkv = project(
          layer.attention,
          input,
          weights_.heads,
          rotaries_.empty() ? nullptr : &rotaries_[config_.layers[l].rope],
          is_first ? base_places : places);
      if (is_first) qkv = qkv.rows(layout.base_row);
      if (is_last) qkv.queries = qkv.queries.index_select(0, layout.target_row);
      const at::Tensor a = suppressed_attention(
          qkv.queries,
          qkv.keys,
          qkv.values,
          layout,
          is_last ? RowSet::Targets : RowSet::All,
          attention_options(l, layout));
      return layer.attention.out(a.flatten(1));
    };

    const bool norms_after = config_.residual == ResidualKind::PostNorm;
    const at::Tensor y = norms_after ? x : normed(layer.attention_in_norm, x);
    const at::Tensor a = normed(layer.attention_out_norm, attention(y));
    switch (config_.residual) {
      case ResidualKind::Sequential: {
        x = needed(x) + m * a;
        x = x + m * normed(layer.mlp_out_norm, mlp_of(layer, normed(layer.mlp_in_norm, x)));
        break;
      }
      case ResidualKind::Parallel: {
        x = needed(x);
        x = x + a + mlp_of(layer, normed(layer.mlp_in_norm, x));
        break;
      }
      case ResidualKind::PostNorm: {
        x = normed(layer.attention_in_norm, needed(x) + a);
        x = normed(layer.mlp_in_norm, x + mlp_of(layer, x));
        break;
      }
      case ResidualKind::Normed: {
        x = normed(layer.mlp_in_norm, needed(y) + a);
        x = x + mlp_of(layer, x);
        break;
      }
    }
  }
  x = normed(weights_.final_norm, x);
  if (weights_.project_out.defined()) x = product(x, weights_.project_out);
  return weights_.head(x, layout.target_ids);
}

}  // namespace limn
