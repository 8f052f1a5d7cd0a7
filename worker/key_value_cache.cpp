#include "worker/key_value_cache.h"

#include <limits>
#include <utility>

#include <ATen/ATen.h>

namespace limn {

void KeyValueCache::Layer::write(
    const at::Tensor& sequences,
    const at::Tensor& positions,
    const at::Tensor& new_keys,
    const at::Tensor& new_values) {
  // Indexing puts the rows first: [rows, kv_heads, head_dim].
  using at::indexing::Slice;
  keys.index_put_({sequences, Slice(), positions}, new_keys);
  values.index_put_({sequences, Slice(), positions}, new_values);
}

class KeyValueCache::Remembering final : public LayerAttention {
 public:
  Remembering(
      Layer& layer,
      std::unique_ptr<LayerAttention> inner,
      at::Tensor sequences,
      at::Tensor positions)
      : layer_(layer),
        inner_(std::move(inner)),
        sequences_(std::move(sequences)),
        positions_(std::move(positions)) {}

  at::Tensor attend(
      const RowBlock& block,
      RowSet rows,
      const at::Tensor& queries,
      const at::Tensor& keys,
      const at::Tensor& values) override {
    layer_.write(sequences_, positions_, keys, values);
    return inner_->attend(block, rows, queries, keys, values);
  }

 private:
  Layer& layer_;
  std::unique_ptr<LayerAttention> inner_;
  at::Tensor sequences_;
  at::Tensor positions_;
};

class KeyValueCache::Continuing final : public LayerAttention {
 public:
  Continuing(
      Layer& layer, AttentionOptions options, at::Tensor positions, std::int64_t last_position)
      : layer_(layer),
        options_(std::move(options)),
        positions_(std::move(positions)),
        num_keys_(last_position + 1) {}

  at::Tensor attend(
      const RowBlock& /*block*/,
      RowSet /*rows*/,
      const at::Tensor& queries,
      const at::Tensor& keys,
      const at::Tensor& values) override {
    const at::Tensor sequences = at::arange(queries.size(0), positions_.options());
    layer_.write(sequences, positions_, keys, values);
    const at::Tensor hidden = hidden_keys();
    at::Tensor output = at::empty_like(queries, at::MemoryFormat::Contiguous);
    for (const HeadRun& run : options_.heads) {
      const std::int64_t num_heads = run.num_kv_heads * run.queries_per_kv;
      output.narrow(1, run.query_begin, num_heads)
          .copy_(attend(run, queries.narrow(1, run.query_begin, num_heads), hidden));
    }
    return output.flatten(1);
  }

 private:
  // Whether a row must not see a key: [sequences, 1, 1, keys] bool.
  at::Tensor hidden_keys() const {
    const at::Tensor key = at::arange(num_keys_, positions_.options());
    const at::Tensor row = positions_.unsqueeze(1);
    at::Tensor hidden = key.gt(row);
    if (options_.window > 0) hidden.logical_or_(key.le(row - options_.window));
    return hidden.unsqueeze(1).unsqueeze(1);
  }

  // [sequences, heads of the run, head_dim] -> the same
  at::Tensor attend(const HeadRun& run, const at::Tensor& queries, const at::Tensor& hidden) const {
    const auto of_run = [&](const at::Tensor& cached) {
      return cached.narrow(1, run.kv_begin, run.num_kv_heads).narrow(2, 0, num_keys_);
    };
    // A head of the options' tensors belongs to a key/value head and a place among its queries.
    const auto by_kv_head = [&](const at::Tensor& by_head) {
      return by_head.narrow(0, run.query_begin, run.num_kv_heads * run.queries_per_kv)
          .unflatten(0, {run.num_kv_heads, run.queries_per_kv});
    };
    const at::Tensor grouped = queries.unflatten(1, {run.num_kv_heads, run.queries_per_kv});
    // [sequences, kv_heads, queries_per_kv, keys]
    at::Tensor scores = at::matmul(grouped, of_run(layer_.keys).transpose(2, 3));
    scores.mul_(options_.scale);
    if (options_.key_bias.defined()) {
      scores.add_(by_kv_head(options_.key_bias.narrow(1, 0, num_keys_)));
    }
    if (options_.softcap > 0) scores.div_(options_.softcap).tanh_().mul_(options_.softcap);
    scores.masked_fill_(hidden, -std::numeric_limits<float>::infinity());
    if (options_.sinks.defined()) {
      // A sink is one more logit, of a key without a value.
      const at::Tensor sinks = by_kv_head(options_.sinks).unsqueeze(-1);
      const at::Tensor all = at::cat({scores, sinks.expand_as(scores.narrow(3, 0, 1))}, 3);
      scores = all.softmax(3).narrow(3, 0, num_keys_);
    } else {
      scores = scores.softmax(3);
    }
    return at::matmul(scores, of_run(layer_.values)).flatten(1, 2);
  }

  Layer& layer_;
  AttentionOptions options_;
  at::Tensor positions_;
  std::int64_t num_keys_;
};

KeyValueCache::KeyValueCache(
    std::size_t num_layers,
    std::int64_t num_sequences,
    std::int64_t capacity,
    std::int64_t num_kv_heads,
    std::int64_t head_dim,
    at::Device device)
    : layers_(num_layers) {
  const auto options = at::TensorOptions(at::kFloat).device(device);
  for (Layer& layer : layers_) {
    // Zeros: what is hidden is multiplied by a weight of 0, and must be finite for that.
    layer.keys = at::zeros({num_sequences, num_kv_heads, capacity, head_dim}, options);
    layer.values = at::zeros_like(layer.keys);
  }
}

void KeyValueCache::keep(const at::Tensor& sequences) {
  for (Layer& layer : layers_) {
    layer.keys = layer.keys.index_select(0, sequences);
    layer.values = layer.values.index_select(0, sequences);
  }
}

std::unique_ptr<LayerAttention> KeyValueCache::remembering(
    std::size_t layer,
    std::unique_ptr<LayerAttention> inner,
    const at::Tensor& sequences,
    const at::Tensor& positions) {
  return std::make_unique<Remembering>(layers_[layer], std::move(inner), sequences, positions);
}

std::unique_ptr<LayerAttention> KeyValueCache::continuing(
    std::size_t layer,
    AttentionOptions options,
    const at::Tensor& positions,
    std::int64_t last_position) {
  return std::make_unique<Continuing>(layers_[layer], std::move(options), positions, last_position);
}

}  // namespace limn
