#include "worker/decoder_weights.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <string>
#include <utility>

#include <ATen/ATen.h>
#include <spdlog/spdlog.h>

#include "sharding/shard_loader.h"
#include "storage/error.h"
#include "worker/gpu/gpu_rows.h"

namespace limn {

namespace {

// "h.3.ln_1" of "h.{}.", 3 and "ln_1".
std::string numbered(std::string_view pattern, std::int64_t number) {
  return fmt::format(fmt::runtime(pattern), number);
}

// The rows or columns that some heads take.
Slice of_heads(const Slice& heads, std::int64_t head_dim) {
  return {heads.begin * head_dim, heads.end * head_dim};
}

Slice shifted(const Slice& slice, std::int64_t offset) {
  return {slice.begin + offset, slice.end + offset};
}

// Published files may leave the prefix of their class away.
std::string prefix_in(const ShardSource& source, const TensorNames& names) {
  const std::string bare = fmt::format("{}.weight", names.embedding);
  return source.has(bare) ? "" : std::string(names.prefix);
}

// Buffers of older files that hold no weights: masks and rotary frequencies.
bool is_derived(std::string_view name) {
  constexpr std::array<std::string_view, 5> kDerived{
      "rotary_emb.inv_freq",
      "attn.bias",
      "attn.masked_bias",
      "attention.bias",
      "attention.masked_bias"};
  return std::ranges::any_of(
      kDerived, [&](std::string_view suffix) { return name.ends_with(suffix); });
}

// Takes the tensors of one source by the family's names.
class WeightReader {
 public:
  WeightReader(
      ShardSource& source,
      const ModelConfig& model,
      Communicator& tensor_ranks,
      at::ScalarType dtype)
      : source_(source),
        config_(model.decoder),
        names_(model.names),
        tensor_ranks_(tensor_ranks),
        dtype_(dtype),
        prefix_(prefix_in(source, model.names)),
        heads_(shard_heads(
            config_.num_heads, config_.num_kv_heads, tensor_ranks.size(), tensor_ranks.rank())),
        vocabulary_(even_slice(config_.vocab_size, tensor_ranks.size(), tensor_ranks.rank())) {}

  // What comes before the layers.
  DecoderWeights read_beginning() {
    DecoderWeights weights;
    weights.heads = heads_;
    read_embedding(weights);
    return weights;
  }

  LayerWeights read_layer(std::size_t index) {
    const auto number = static_cast<std::int64_t>(index);
    return read_layer(prefix_ + numbered(names_.layer, number), config_.layers[index].has_experts);
  }

  void read_layers(DecoderWeights& weights) {
    for (std::size_t layer = 0; layer < config_.layers.size(); ++layer) {
      weights.layers.push_back(read_layer(layer));
      tell_progress(static_cast<std::int64_t>(layer) + 1);
    }
  }

  // What comes behind the layers.
  void read_end(DecoderWeights& weights) {
    if (config_.final_norm) weights.final_norm = norm(prefix_, names_.final_norm);
    read_head(weights);
  }

 private:
  // A line every ten seconds: reading a large checkpoint takes minutes.
  void tell_progress(std::int64_t num_read) {
    const auto now = std::chrono::steady_clock::now();
    if (now - told_at_ < std::chrono::seconds(10)) return;
    told_at_ = now;
    spdlog::info("{}: {} of {} layers read", source_.place(), num_read, config_.num_layers());
  }

  std::int64_t embedding_width() const {
    return config_.embedding_width > 0 ? config_.embedding_width : config_.hidden;
  }

  void read_embedding(DecoderWeights& weights) {
    weights.embedding = {
        vocabulary_shard(prefix_ + std::string(names_.embedding)), vocabulary_, &tensor_ranks_};
    if (config_.position == PositionKind::Learned) {
      weights.positions = whole(
          prefix_ + std::string(names_.positions) + ".weight",
          {config_.max_positions + config_.position_offset, config_.hidden},
          dtype_);
    }
    if (embedding_width() != config_.hidden) {
      weights.project_in = whole(
          prefix_ + std::string(names_.project_in) + ".weight",
          {config_.hidden, embedding_width()},
          dtype_);
      weights.project_out = whole(
          prefix_ + std::string(names_.project_out) + ".weight",
          {embedding_width(), config_.hidden},
          dtype_);
    }
    if (config_.embedding_norm) weights.embedding_norm = norm(prefix_, names_.embedding_norm);
  }

  // A stored head is used even where the config ties it, and so is a bias of the head: what
  // transformers does, too.
  void read_head(DecoderWeights& weights) {
    const std::string name(names_.head);
    const bool tied = config_.tied_head && !source_.has(name + ".weight");
    weights.head.weight = tied ? weights.embedding.weight : vocabulary_shard(name);
    if (source_.has(name + ".bias")) {
      weights.head.bias = load({name + ".bias", {config_.vocab_size}, 0, vocabulary_}, at::kFloat);
    }
    weights.head.vocabulary = vocabulary_;
    weights.head.scale = config_.logit_scale;
    weights.head.softcap = config_.logit_softcap;
    weights.head.tensor_ranks = &tensor_ranks_;
  }

  LayerWeights read_layer(const std::string& prefix, bool has_experts) {
    LayerWeights layer;
    layer.attention_in_norm = optional_norm(prefix, names_.attention_in_norm);
    layer.attention = read_attention(prefix);
    layer.attention_out_norm = optional_norm(prefix, names_.attention_out_norm);
    layer.mlp_in_norm = optional_norm(prefix, names_.mlp_in_norm);
    if (has_experts) {
      layer.mlp = read_experts(prefix);
    } else {
      layer.mlp = read_mlp(prefix);
    }
    layer.mlp_out_norm = optional_norm(prefix, names_.mlp_out_norm);
    return layer;
  }

  AttentionWeights read_attention(const std::string& prefix) {
    const std::int64_t query_width = config_.num_heads * config_.head_dim;
    const Slice queries = of_heads(heads_.query_heads, config_.head_dim);
    AttentionWeights attention;
    attention.query_key_value = read_qkv(prefix);
    const Slice& held = heads_.query_heads;
    const Slice& kv_held = heads_.kv_heads;
    if (config_.head_norm != HeadNormKind::None) {
      attention.query_norm =
          head_norm(prefix, names_.query_norm, config_.num_heads, held, {0, held.size()});
      attention.key_norm = head_norm(
          prefix,
          names_.key_norm,
          config_.num_kv_heads,
          kv_held,
          shifted(heads_.first_held_kv_heads, -kv_held.begin));
    }
    if (config_.attention_sinks) {
      attention.sinks =
          load({prefix + std::string(names_.sinks), {config_.num_heads}, 0, held}, at::kFloat);
    }
    attention.out = row_parallel(
        prefix + std::string(names_.attention_out),
        query_width,
        queries,
        config_.attention_out_bias);
    return attention;
  }

  // The projections to queries, keys and values as one product, however they are stored.
  ColumnParallelLinear read_qkv(const std::string& prefix) {
    const std::int64_t d = config_.head_dim;
    const Slice queries = of_heads(heads_.query_heads, d);
    const Slice keys = of_heads(heads_.kv_heads, d);
    const std::int64_t query_width = config_.num_heads * d;
    const std::int64_t kv_width = config_.num_kv_heads * d;
    const std::int64_t width = query_width + 2 * kv_width;
    switch (names_.qkv_layout) {
      case QkvLayout::Separate:
        return joined_columns(
            prefix,
            {{names_.query, query_width, queries},
             {names_.key, kv_width, keys},
             {names_.value, kv_width, keys}},
            config_.qkv_bias);
      case QkvLayout::Concatenated:
        return joined_columns(
            prefix,
            {{names_.query, width, queries},
             {names_.query, width, shifted(keys, query_width)},
             {names_.query, width, shifted(keys, query_width + kv_width)}},
            config_.qkv_bias);
      case QkvLayout::Grouped: {
        // Whole groups are contiguous; a rank that holds a part of one picks its heads.
        const std::int64_t group_heads = config_.num_heads / config_.num_kv_heads + 2;
        const Slice groups = of_heads(heads_.kv_heads, group_heads * d);
        ColumnParallelLinear linear =
            joined_columns(prefix, {{names_.query, width, groups}}, config_.qkv_bias);
        const at::Tensor rows = rows_of_grouped_heads();
        for (at::Tensor* const tensor : {&linear.weight, &linear.bias}) {
          if (tensor->defined()) *tensor = tensor->index_select(0, rows.to(tensor->device()));
        }
        return linear;
      }
    }
    throw InternalError("a layout of queries, keys and values without a reader");
  }

  // Within the rank's groups, the rows of its query heads, then of its key heads, then of its value
  // heads.
  at::Tensor rows_of_grouped_heads() const {
    const std::int64_t queries_per_kv = config_.num_heads / config_.num_kv_heads;
    std::vector<std::int64_t> heads;  // index among all heads of the held groups
    const auto place = [&](std::int64_t kv_head, std::int64_t within) {
      heads.push_back((kv_head - heads_.kv_heads.begin) * (queries_per_kv + 2) + within);
    };
    for (std::int64_t h = heads_.query_heads.begin; h < heads_.query_heads.end; ++h) {
      place(h / queries_per_kv, h % queries_per_kv);
    }
    for (const std::int64_t within : {queries_per_kv, queries_per_kv + 1}) {
      for (std::int64_t k = heads_.kv_heads.begin; k < heads_.kv_heads.end; ++k)
        place(k, within);
    }
    const at::Tensor first = at::tensor(heads, at::kLong) * config_.head_dim;
    return (first.unsqueeze(1) + at::arange(config_.head_dim, at::kLong)).flatten();
  }

  Mlp read_mlp(const std::string& prefix) {
    const Slice inner = even_slice(config_.inner, tensor_ranks_.size(), tensor_ranks_.rank());
    Mlp mlp;
    mlp.kind = config_.mlp;
    mlp.activation = config_.activation;
    if (config_.mlp == MlpKind::Plain) {
      mlp.up = joined_columns(prefix, {{names_.up, config_.inner, inner}}, config_.mlp_bias);
    } else if (names_.gate.empty()) {
      mlp.up = joined_columns(
          prefix,
          {{names_.up, 2 * config_.inner, inner},
           {names_.up, 2 * config_.inner, shifted(inner, config_.inner)}},
          config_.mlp_bias);
    } else {
      mlp.up = joined_columns(
          prefix,
          {{names_.gate, config_.inner, inner}, {names_.up, config_.inner, inner}},
          config_.mlp_bias);
    }
    mlp.down =
        row_parallel(prefix + std::string(names_.down), config_.inner, inner, config_.mlp_bias);
    return mlp;
  }

  ExpertMlp read_experts(const std::string& prefix) {
    const ExpertsConfig& experts = *config_.experts;
    const Slice inner = even_slice(experts.inner, tensor_ranks_.size(), tensor_ranks_.rank());
    const std::string router = prefix + std::string(names_.router);
    ExpertMlp mlp;
    mlp.config = experts;
    mlp.activation = config_.activation;
    mlp.router = whole(router + ".weight", {experts.num_experts, config_.hidden}, at::kFloat);
    mlp.tensor_ranks = &tensor_ranks_;
    if (names_.experts_layout == ExpertsLayout::Stacked) {
      mlp.router_bias = whole(router + ".bias", {experts.num_experts}, at::kFloat);
      mlp.experts = stacked_experts(prefix, inner);
      return mlp;
    }
    for (std::int64_t e = 0; e < experts.num_experts; ++e) {
      Expert expert;
      const std::string gate = numbered(names_.expert_gate, e);
      const std::string up = numbered(names_.expert_up, e);
      expert.gate_up =
          joined_columns(prefix, {{gate, experts.inner, inner}, {up, experts.inner, inner}}, false)
              .weight;
      expert.down =
          row_parallel(prefix + numbered(names_.expert_down, e), experts.inner, inner, false)
              .weight;
      mlp.experts.push_back(std::move(expert));
    }
    return mlp;
  }

  // gpt_oss: [expert, in, out], gate and up in turn.
  std::vector<Expert> stacked_experts(const std::string& prefix, const Slice& inner) {
    const ExpertsConfig& config = *config_.experts;
    const std::string gate_up_name = prefix + std::string(names_.expert_gate);
    const std::string down_name = prefix + std::string(names_.expert_down);
    const Slice both = of_heads(inner, 2);
    const std::int64_t e = config.num_experts;
    const at::Tensor gate_up =
        load({gate_up_name, {e, config_.hidden, 2 * config.inner}, 2, both}, dtype_);
    const at::Tensor gate_up_bias =
        load({gate_up_name + "_bias", {e, 2 * config.inner}, 1, both}, at::kFloat);
    const at::Tensor down = load({down_name, {e, config.inner, config_.hidden}, 1, inner}, dtype_);
    const at::Tensor down_bias = whole(down_name + "_bias", {e, config_.hidden}, at::kFloat);

    std::vector<Expert> experts;
    if (!gate_up.defined() || !gate_up_bias.defined() || !down.defined() || !down_bias.defined()) {
      return experts;
    }
    const auto gate_first = [](const at::Tensor& in_turn, std::int64_t dim) {
      const at::Tensor pairs = in_turn.unflatten(dim, {-1, 2});
      return at::cat({pairs.select(dim + 1, 0), pairs.select(dim + 1, 1)}, dim);
    };
    for (std::int64_t i = 0; i < e; ++i) {
      Expert expert;
      expert.gate_up = gate_first(gate_up[i], 1).t().contiguous();
      expert.gate_up_bias = gate_first(gate_up_bias[i], 0).contiguous();
      expert.down = down[i].t().contiguous();
      if (tensor_ranks_.rank() == 0) expert.down_bias = down_bias[i];
      experts.push_back(std::move(expert));
    }
    return experts;
  }

  // A linear layer of the checkpoint, or some rows of it, that become rows of a joined one.
  struct Columns {
    std::string_view name;
    std::int64_t outputs;  // of the stored layer
    Slice slice;           // of them
  };

  // Several linear layers of the same input as one matrix product.
  ColumnParallelLinear joined_columns(
      const std::string& prefix, const std::vector<Columns>& parts, bool with_bias) {
    std::vector<ShardRequest> weights;
    std::vector<ShardRequest> biases;
    for (const Columns& part : parts) {
      const std::string name = prefix + std::string(part.name);
      weights.push_back(
          {name + ".weight", {part.outputs, config_.hidden}, 0, part.slice, orientation()});
      biases.push_back({name + ".bias", {part.outputs}, 0, part.slice});
    }
    ColumnParallelLinear linear;
    linear.weight = source_.load_joined(weights, dtype_);
    if (with_bias) linear.bias = source_.load_joined(biases, at::kFloat);
    return linear;
  }

  RowParallelLinear row_parallel(
      const std::string& name, std::int64_t inputs, const Slice& slice, bool with_bias) {
    RowParallelLinear linear;
    linear.weight =
        load({name + ".weight", {config_.hidden, inputs}, 1, slice, orientation()}, dtype_);
    if (with_bias) linear.bias = whole(name + ".bias", {config_.hidden}, at::kFloat);
    linear.tensor_ranks = &tensor_ranks_;
    return linear;
  }

  Orientation orientation() const {
    return names_.transposed ? Orientation::InOut : Orientation::OutIn;
  }

  std::optional<Norm> optional_norm(const std::string& prefix, std::string_view name) {
    if (name.empty()) return std::nullopt;
    return norm(prefix, name);
  }

  Norm norm(const std::string& prefix, std::string_view name) {
    Norm norm = empty_norm();
    if (!config_.norm_weights) return norm;
    norm.weight = gain(prefix + std::string(name) + ".weight", {config_.hidden}, std::nullopt, {});
    if (config_.norm_biases) {
      norm.bias = whole(prefix + std::string(name) + ".bias", {config_.hidden}, at::kFloat);
    }
    return norm;
  }

  Norm empty_norm() const {
    return {.subtracts_mean = config_.norm == NormKind::Layer, .epsilon = config_.norm_epsilon};
  }

  // A norm's weight; NormKind::RmsPlusOne stores it less 1.
  at::Tensor gain(
      const std::string& name,
      std::vector<std::int64_t> shape,
      std::optional<std::int64_t> dimension,
      const Slice& slice) {
    const bool is_stored_less_one = config_.norm == NormKind::RmsPlusOne;
    const double center = is_stored_less_one ? 0 : 1;
    at::Tensor weight =
        load({name, std::move(shape), dimension, slice, Orientation::OutIn, center}, at::kFloat);
    if (weight.defined() && is_stored_less_one) weight.add_(1);
    return weight;
  }

  // Of the heads in `held`; `counted` are those, from the rank's first on, that no other rank
  // counts.
  HeadNorm head_norm(
      const std::string& prefix,
      std::string_view name,
      std::int64_t num_heads,
      const Slice& held,
      const Slice& counted) {
    const std::int64_t d = config_.head_dim;
    const std::string base = prefix + std::string(name);
    if (config_.head_norm == HeadNormKind::AllHeads) {
      at::Tensor weight = gain(base + ".weight", {num_heads * d}, 0, of_heads(held, d));
      if (weight.defined()) weight = weight.view({held.size(), d});
      return AllHeadsNorm{config_.norm_epsilon, weight, counted, num_heads * d, &tensor_ranks_};
    }
    Norm norm = empty_norm();
    if (config_.head_norm == HeadNormKind::SharedWeight) {
      norm.weight = gain(base + ".weight", {d}, std::nullopt, {});
      if (config_.head_norm_biases) norm.bias = whole(base + ".bias", {d}, at::kFloat);
    } else if (name.find("{}") == std::string_view::npos) {
      norm.weight = gain(base + ".weight", {num_heads, d}, 0, held);
    } else {
      norm.weight = stacked_gains(base, num_heads, held);
    }
    return norm;
  }

  // [heads/t, head_dim] of a tensor for each head; those of other ranks are only looked at.
  at::Tensor stacked_gains(const std::string& pattern, std::int64_t num_heads, const Slice& held) {
    std::vector<at::Tensor> gains;
    bool are_all_there = true;
    for (std::int64_t head = 0; head < num_heads; ++head) {
      const at::Tensor weight =
          gain(numbered(pattern, head) + ".weight", {config_.head_dim}, std::nullopt, {});
      are_all_there = are_all_there && weight.defined();
      if (head >= held.begin && head < held.end) gains.push_back(weight);
    }
    return are_all_there ? at::stack(gains) : at::Tensor();
  }

  at::Tensor vocabulary_shard(const std::string& name) {
    return load(
        {name + ".weight", {config_.vocab_size, embedding_width()}, 0, vocabulary_}, dtype_);
  }

  at::Tensor whole(const std::string& name, std::vector<std::int64_t> shape, at::ScalarType dtype) {
    return load({name, std::move(shape), std::nullopt, {}}, dtype);
  }

  at::Tensor load(const ShardRequest& request, at::ScalarType dtype) {
    return source_.load(request, dtype);
  }

  ShardSource& source_;
  const DecoderConfig& config_;
  const TensorNames& names_;
  Communicator& tensor_ranks_;
  at::ScalarType dtype_;
  std::string prefix_;
  HeadShard heads_;
  Slice vocabulary_;
  std::chrono::steady_clock::time_point told_at_ = std::chrono::steady_clock::now();
};

// Has a loader note what is asked for, without reading it.
class ExpectedShards : public ShardSource {
 public:
  explicit ExpectedShards(ShardLoader& loader) : loader_(loader) {}

  at::Tensor load_joined(
      std::span<const ShardRequest> requests, at::ScalarType /*dtype*/) override {
    loader_.expect(requests);
    return {};
  }

  bool has(const std::string& name) const override { return loader_.has(name); }

  std::string place() const override { return loader_.place(); }

 private:
  ShardLoader& loader_;
};

void check_tensor_ranks(const ModelConfig& model, const Communicator& tensor_ranks) {
  if (tensor_ranks.size() <= model.decoder.num_heads) return;
  throw JobError(fmt::format(
      "parallel.tensor_parallel must be at most the model's number of attention heads, {}: {}",
      model.decoder.num_heads,
      tensor_ranks.size()));
}

}  // namespace

at::ScalarType stored_dtype(const Checkpoint& checkpoint, const ModelConfig& model) {
  const StoredTensor* const embedding = checkpoint.find(fmt::format(
      "{}{}.weight", prefix_in(ShardLoader(checkpoint), model.names), model.names.embedding));
  if (embedding != nullptr && embedding->dtype == StoredDtype::Bfloat16) return at::kBFloat16;
  if (embedding != nullptr && embedding->dtype == StoredDtype::Float16) return at::kHalf;
  return at::kFloat;
}

LayerWeights with_dtype(const LayerWeights& layer, at::ScalarType dtype) {
  LayerWeights converted = layer;
  const auto convert = [&](at::Tensor& matrix) { matrix = matrix.to(dtype); };
  const auto convert_linear = [&](auto& linear) {
    linear.is_wide = dtype == at::kFloat && is_wide_as_kept(linear.weight);
    if (!linear.is_wide) convert(linear.weight);
  };
  convert_linear(converted.attention.query_key_value);
  convert_linear(converted.attention.out);
  if (auto* const dense = std::get_if<Mlp>(&converted.mlp)) {
    convert_linear(dense->up);
    convert_linear(dense->down);
    return converted;
  }
  for (Expert& expert : std::get<ExpertMlp>(converted.mlp).experts) {
    convert(expert.gate_up);
    convert(expert.down);
  }
  return converted;
}

LayerWeights in_float8(const LayerWeights& layer) {
  LayerWeights converted = with_dtype(layer, at::kBFloat16);
  const auto convert = [](auto& linear) {
    constexpr std::int64_t kMultiple = 16;
    if (linear.weight.size(0) % kMultiple != 0 || linear.weight.size(1) % kMultiple != 0) return;
    const ScaledRows scaled = gpu_scaled_rows(linear.weight);
    linear.weight = scaled.values;
    linear.scale = scaled.scale;
  };
  convert(converted.attention.query_key_value);
  convert(converted.attention.out);
  if (auto* const dense = std::get_if<Mlp>(&converted.mlp)) {
    convert(dense->up);
    convert(dense->down);
  }
  return converted;
}

LayerWeights read_layer_weights(
    ShardSource& source,
    const ModelConfig& model,
    Communicator& tensor_ranks,
    at::ScalarType dtype,
    std::size_t layer) {
  return WeightReader(source, model, tensor_ranks, dtype).read_layer(layer);
}

DecoderWeights read_decoder_weights(
    ShardSource& source,
    const ModelConfig& model,
    Communicator& tensor_ranks,
    at::ScalarType dtype) {
  check_tensor_ranks(model, tensor_ranks);
  WeightReader reader(source, model, tensor_ranks, dtype);
  DecoderWeights weights = reader.read_beginning();
  reader.read_layers(weights);
  reader.read_end(weights);
  return weights;
}

DecoderWeights load_decoder_weights(
    const Checkpoint& checkpoint,
    const ModelConfig& model,
    Communicator& tensor_ranks,
    at::ScalarType dtype,
    at::Device device,
    WeightPlacement placement) {
  check_tensor_ranks(model, tensor_ranks);
  ShardLoader loader(checkpoint, device);
  WeightReader reader(loader, model, tensor_ranks, dtype);
  DecoderWeights weights = reader.read_beginning();
  if (placement == WeightPlacement::Resident) {
    reader.read_layers(weights);
  } else {
    ExpectedShards expected(loader);
    for (std::size_t layer = 0; layer < model.decoder.layers.size(); ++layer)
      read_layer_weights(expected, model, tensor_ranks, dtype, layer);
  }
  reader.read_end(weights);
  loader.throw_unless_exact(is_derived);
  return weights;
}

}  // namespace limn
