#include "worker/sweep.h"

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include <ATen/ATen.h>

#include "sharding/gpu.h"
#include "storage/error.h"
#include "worker/sweep_attention.h"

namespace limn {

namespace {

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
    add_deltas(base, layout.segments[*index], log_prob, result.delta);
  }
  return result;
}

at::Tensor token_tensor(const Batch& batch) {
  std::vector<std::int64_t> tokens;
  for (const BatchPiece& piece : batch.pieces) {
    tokens.insert(tokens.end(), piece.tokens.begin(), piece.tokens.end());
  }
  return index_tensor(tokens);
}

std::int64_t longest_segment(const SweepLayout& layout) {
  std::int64_t longest = 0;
  for (const Segment& segment : layout.segments)
    longest = std::max(longest, segment.row_end);
  return longest;
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
    : decoder_(config, weights),
      resident_(weights.layers),
      layers_(layers),
      suppression_(suppression),
      compute_(compute) {}

BatchResult SweepEngine::run(const Batch& batch) {
  const c10::InferenceMode no_autograd;
  const at::Device device = decoder_.device();
  layers_.rewind();
  const VocabularyParallelEmbedding& embedding = decoder_.weights().embedding;
  at::Tensor embeddings = embedding(moved_to(device, token_tensor(batch)));  // [base_rows, hidden]
  SweepLayout layout = lay_out_sweep(
      batch, batch_factors(batch, suppression_, embeddings), sweep_block_rows(device));
  layout.move_to(device);
  at::Tensor log_probs = target_log_probs(layout, std::move(embeddings));
  // A partner that fails would leave a GPU waiting, and with it a copy.
  embedding.tensor_ranks->synchronize();
  log_probs = log_probs.to(at::kCPU).contiguous();

  BatchResult result{batch.id, {}};
  for (std::size_t i = 0; i < batch.pieces.size(); ++i) {
    result.pieces.push_back(
        piece_result(batch.pieces[i], layout, i, log_probs.const_data_ptr<double>()));
  }
  return result;
}

void SweepEngine::release_memory() {
  buffers_ = {};
  release_cached_memory(decoder_.device());
}

at::Tensor SweepEngine::target_log_probs(const SweepLayout& layout, at::Tensor embeddings) {
  const bool is_difference = is_delta(compute_);
  const DecoderConfig& config = decoder_.config();
  const at::Tensor key_bias = decoder_.key_bias(longest_segment(layout));

  // The residual stream: of the base, and of all other rows in packed order.
  if (layout.blocks[0].shares_rows()) embeddings = embeddings.index_select(0, layout.fed_token);
  at::Tensor base_x =
      decoder_.embed(embeddings, layout.positions.narrow(0, 0, layout.num_base_rows));
  embeddings.reset();
  std::vector<at::Tensor> x(layout.blocks.size());
  for (std::size_t i = 1; i < layout.blocks.size(); ++i) {
    const Slice& rows = layout.blocks[i].rows;
    x[i] = is_difference ? at::zeros({rows.size(), config.hidden}, base_x.options())
                         : base_x.index_select(0, rows_of(layout.base_row, rows));
  }

  SweepAttention attention(
      layout,
      decoder_.weights().heads.runs,
      config.head_dim,
      compute_,
      decoder_.device(),
      buffers_);
  BlockIndices indices(layout, suppression_.kind, decoder_.device());
  for (std::size_t l = 0; l < config.layers.size(); ++l) {
    const LayerWeights kept = layers_.layer(l);
    LayerWeights layer = with_dtype(kept, base_dtype(compute_));
    AttentionOptions options = decoder_.attention_options(l, kept, key_bias);
    options.suppression = suppression_.kind;
    LayerPass pass{.index = l, .layout = layout, .attention = attention.layer(std::move(options))};
    BaseTrace trace;
    ValueRows base_rows(is_difference ? &trace : nullptr);
    base_x = decoder_.through_layer(layer, pass, layout.blocks[0], base_rows, std::move(base_x));
    if (is_difference) layer = layer_of_differences(kept, layer, compute_);
    for (std::size_t i = 1; i < layout.blocks.size(); ++i) {
      const RowBlock& block = layout.blocks[i];
      if (is_difference) {
        const std::int64_t window = config.layers[l].window;
        DifferenceRows rows(
            trace,
            indices.of(block, RowSet::All, window),
            indices.of(block, RowSet::Targets, window));
        x[i] = decoder_.through_layer(layer, pass, block, rows, std::move(x[i]));
      } else {
        ValueRows rows;
        x[i] = decoder_.through_layer(layer, pass, block, rows, std::move(x[i]));
      }
    }
  }

  const Slice base_targets = layout.blocks[0].target_rows;
  const auto log_probs = [&](RowArithmetic& rows, at::Tensor of_rows, const at::Tensor& ids) {
    of_rows = decoder_.head_input(rows, of_rows);
    return rows.log_probs(decoder_.weights().head, of_rows, ids);
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
