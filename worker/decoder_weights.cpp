#include "worker/decoder_weights.h"

#include <set>
#include <string>

#include <ATen/ATen.h>

#include "sharding/shard_loader.h"
#include "storage/error.h"

namespace limn {

namespace {

// The slice of rows or columns that some heads take.
Slice of_heads(const Slice& heads, std::int64_t head_dim) {
  return {heads.begin * head_dim, heads.end * head_dim};
}

// Loads the tensors of one checkpoint by the family's names, and remembers which it asked for.
class WeightReader {
 public:
  WeightReader(const Checkpoint& checkpoint, const ModelConfig& model, Communicator& tensor_ranks)
      : checkpoint_(checkpoint),
        loader_(checkpoint, at::kFloat),
        config_(model.decoder),
        names_(model.names),
        tensor_ranks_(tensor_ranks),
        heads_(shard_heads(
            config_.num_heads, config_.num_kv_heads, tensor_ranks.size(), tensor_ranks.rank())),
        inner_(even_slice(config_.inner, tensor_ranks.size(), tensor_ranks.rank())),
        vocabulary_(even_slice(config_.vocab_size, tensor_ranks.size(), tensor_ranks.rank())) {}

  DecoderWeights read() {
    DecoderWeights weights;
    weights.heads = heads_;
    const at::Tensor embedding = vocabulary_shard(names_.embedding);
    weights.embedding = {embedding, vocabulary_, &tensor_ranks_};
    for (std::int64_t layer = 0; layer < config_.num_layers; ++layer) {
      weights.layers.push_back(read_layer(fmt::format(fmt::runtime(names_.layer_prefix), layer)));
    }
    weights.final_norm = norm(names_.final_norm);
    // A stored head is used even where the config ties it: what transformers does, too.
    const bool stored_head = loader_.has(fmt::format("{}.weight", names_.head));
    const bool tied = config_.tied_head && !stored_head;
    weights.head = {tied ? embedding : vocabulary_shard(names_.head), vocabulary_, &tensor_ranks_};
    loader_.throw_if_incomplete();
    refuse_unread();
    return weights;
  }

 private:
  LayerWeights read_layer(const std::string& prefix) {
    const std::int64_t query_width = config_.num_heads * config_.head_dim;
    const std::int64_t kv_width = config_.num_kv_heads * config_.head_dim;
    const Slice queries = of_heads(heads_.query_heads, config_.head_dim);
    const Slice keys = of_heads(heads_.kv_heads, config_.head_dim);

    LayerWeights layer;
    layer.attention_norm = norm(prefix + std::string(names_.attention_norm));
    layer.query_key_value = joined_columns(
        prefix,
        {{names_.query, query_width, queries},
         {names_.key, kv_width, keys},
         {names_.value, kv_width, keys}},
        config_.attention_bias);
    layer.attention_out = row_parallel(
        prefix + std::string(names_.attention_out), query_width, queries, config_.attention_bias);
    layer.mlp_norm = norm(prefix + std::string(names_.mlp_norm));
    layer.gate_up = joined_columns(
        prefix,
        {{names_.gate, config_.inner, inner_}, {names_.up, config_.inner, inner_}},
        config_.mlp_bias);
    layer.down =
        row_parallel(prefix + std::string(names_.down), config_.inner, inner_, config_.mlp_bias);
    return layer;
  }

  // A linear layer of the checkpoint that becomes some rows of a joined one.
  struct Columns {
    std::string_view name;
    std::int64_t outputs;  // of all ranks
    Slice slice;           // of them
  };

  // Several linear layers of the same input as one matrix product.
  ColumnParallelLinear joined_columns(
      const std::string& prefix, const std::vector<Columns>& parts, bool with_bias) {
    std::vector<at::Tensor> weights;
    std::vector<at::Tensor> biases;
    for (const Columns& part : parts) {
      const std::string name = prefix + std::string(part.name);
      weights.push_back(
          load({name + ".weight", {part.outputs, config_.hidden}, Placement::Column, part.slice}));
      if (with_bias) {
        biases.push_back(load({name + ".bias", {part.outputs}, Placement::Column, part.slice}));
      }
    }
    return {joined(weights), with_bias ? joined(biases) : at::Tensor()};
  }

  RowParallelLinear row_parallel(
      const std::string& name, std::int64_t inputs, const Slice& slice, bool with_bias) {
    RowParallelLinear linear;
    linear.weight = load({name + ".weight", {config_.hidden, inputs}, Placement::Row, slice});
    if (with_bias) linear.bias = load({name + ".bias", {config_.hidden}, Placement::Whole, {}});
    linear.tensor_ranks = &tensor_ranks_;
    return linear;
  }

  at::Tensor norm(std::string_view name) {
    return load({fmt::format("{}.weight", name), {config_.hidden}, Placement::Whole, {}});
  }

  at::Tensor vocabulary_shard(std::string_view name) {
    return load(
        {fmt::format("{}.weight", name),
         {config_.vocab_size, config_.hidden},
         Placement::Column,
         vocabulary_});
  }

  at::Tensor load(const ShardRequest& request) {
    read_.insert(request.name);
    return loader_.load(request);
  }

  // Undefined when a part could not be loaded; the loader has noted why.
  static at::Tensor joined(const std::vector<at::Tensor>& parts) {
    for (const at::Tensor& part : parts) {
      if (!part.defined()) return {};
    }
    return at::cat(parts);
  }

  // A tensor that nobody asked for means that the model computes something limn does not.
  void refuse_unread() const {
    constexpr std::size_t kMostNamed = 10;
    std::vector<std::string> unread;
    for (const std::string& name : checkpoint_.names()) {
      const bool derived = name.ends_with(".rotary_emb.inv_freq");  // a buffer of older files
      if (!derived && !read_.contains(name)) unread.push_back(name);
    }
    if (unread.empty()) return;
    const std::size_t count = unread.size();
    unread.resize(std::min(count, kMostNamed));
    throw DataError(fmt::format(
        "{}: tensors that config.json does not explain; this is not a plain model of its "
        "model_type: {} in all: {}{}",
        checkpoint_.folder().string(),
        count,
        fmt::join(unread, ", "),
        count > kMostNamed ? ", ..." : ""));
  }

  const Checkpoint& checkpoint_;
  ShardLoader loader_;
  const DecoderConfig& config_;
  const TensorNames& names_;
  Communicator& tensor_ranks_;
  HeadShard heads_;
  Slice inner_;
  Slice vocabulary_;
  std::set<std::string> read_;
};

}  // namespace

DecoderWeights load_decoder_weights(
    const Checkpoint& checkpoint, const ModelConfig& model, Communicator& tensor_ranks) {
  if (tensor_ranks.size() > model.decoder.num_heads) {
    throw JobError(fmt::format(
        "parallel.tensor_parallel must be at most the model's number of attention heads, {}: {}",
        model.decoder.num_heads,
        tensor_ranks.size()));
  }
  return WeightReader(checkpoint, model, tensor_ranks).read();
}

}  // namespace limn
