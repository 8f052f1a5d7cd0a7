#include "worker/generator.h"

#include <algorithm>
#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include "sharding/gpu.h"
#include "worker/sweep.h"
#include "worker/sweep_attention.h"

namespace limn {

namespace {

// The prompts as bases of a sweep, whose last rows alone are read.
Batch batch_of_bases(const GenerationBatch& prompts) {
  Batch batch;
  for (const GenerationPrompt& prompt : prompts.prompts) {
    batch.pieces.push_back(
        {.sample_index = prompt.record_index,
         .tokens = prompt.tokens,
         .target_ids = {0},
         .prompt_length = std::ssize(prompt.tokens)});
  }
  return batch;
}

// One row for each sequence, all of them read.
SweepLayout layout_of_rows(const at::Tensor& positions) {
  const std::int64_t num_rows = positions.size(0);
  SweepLayout layout;
  layout.num_base_rows = layout.num_rows = layout.num_target_rows = num_rows;
  layout.blocks = {
      {.rows = {0, num_rows},
       .keys = {0, num_rows},
       .target_rows = {0, num_rows},
       .is_base = true}};
  layout.positions = positions;
  layout.fed_lengths = positions + 1;
  layout.base_row = layout.target_row = at::arange(num_rows, positions.options());
  return layout;
}

// What is answered so far, and whose answers have not ended.
class Answers {
 public:
  explicit Answers(const GenerationBatch& batch) : batch_(batch), tokens_(batch.prompts.size()) {
    for (std::size_t i = 0; i < tokens_.size(); ++i)
      open_.push_back(i);
  }

  bool all_ended() const { return open_.empty(); }

  // Takes the next token of each open answer, [open] int64; returns which of them stay open, by
  // their place: [kept] int64.
  at::Tensor add(const at::Tensor& next) {
    std::vector<std::int64_t> kept;
    std::vector<std::size_t> still_open;
    for (std::size_t place = 0; place < open_.size(); ++place) {
      const std::size_t answer = open_[place];
      const auto token = static_cast<std::int32_t>(
          next.const_data_ptr<std::int64_t>()[static_cast<std::ptrdiff_t>(place)]);
      if (ends_with(answer, token)) continue;
      kept.push_back(static_cast<std::int64_t>(place));
      still_open.push_back(answer);
    }
    open_ = std::move(still_open);
    return index_tensor(kept);
  }

  // The open answers as prompts to be read anew: all of their tokens so far.
  GenerationBatch open_so_far() const {
    GenerationBatch batch{.id = batch_.id, .prompts = {}, .end_tokens = batch_.end_tokens};
    for (const std::size_t answer : open_) {
      GenerationPrompt prompt = batch_.prompts[answer];
      const std::vector<std::int32_t>& tokens = tokens_[answer];
      prompt.tokens.insert(prompt.tokens.end(), tokens.begin(), tokens.end());
      prompt.max_new_tokens -= std::ssize(tokens);
      batch.prompts.push_back(std::move(prompt));
    }
    return batch;
  }

  // Of the open answers, [open] int64: the last token, and its position.
  at::Tensor last_tokens() const {
    std::vector<std::int64_t> tokens;
    for (const std::size_t answer : open_)
      tokens.push_back(tokens_[answer].back());
    return index_tensor(tokens);
  }

  at::Tensor last_positions() const {
    std::vector<std::int64_t> positions;
    for (const std::size_t answer : open_) {
      positions.push_back(
          std::ssize(batch_.prompts[answer].tokens) + std::ssize(tokens_[answer]) - 1);
    }
    return index_tensor(positions);
  }

  GenerationResult result() && {
    GenerationResult result{batch_.id, {}};
    for (std::size_t i = 0; i < tokens_.size(); ++i) {
      result.targets.push_back({batch_.prompts[i].record_index, std::move(tokens_[i])});
    }
    return result;
  }

 private:
  // Adds the token to an answer, unless it is an end token behind others.
  bool ends_with(std::size_t answer, std::int32_t token) {
    std::vector<std::int32_t>& tokens = tokens_[answer];
    const bool is_end = std::ranges::find(batch_.end_tokens, token) != batch_.end_tokens.end();
    if (!is_end || tokens.empty()) tokens.push_back(token);
    return is_end || std::ssize(tokens) >= batch_.prompts[answer].max_new_tokens;
  }

  const GenerationBatch& batch_;
  std::vector<std::vector<std::int32_t>> tokens_;  // by prompt
  std::vector<std::size_t> open_;                  // prompts, ascending
};

std::int64_t most_tokens(const GenerationBatch& batch) {
  std::int64_t most = 0;
  for (const GenerationPrompt& prompt : batch.prompts)
    most = std::max(most, std::ssize(prompt.tokens) + prompt.max_new_tokens);
  return most;
}

}  // namespace

Generator::Generator(
    const DecoderConfig& config,
    const DecoderWeights& weights,
    LayerSource& layers,
    SweepCompute compute)
    : decoder_(config, weights),
      layers_(layers),
      compute_(compute) {}

GenerationResult Generator::run(const GenerationBatch& batch) {
  const c10::InferenceMode no_autograd;
  layers_.rewind();
  Answers answers(batch);
  KeyValueCache cache = cache_for(batch);
  at::Tensor next = read_prompts(batch, cache);
  while (true) {
    const at::Tensor kept = answers.add(next);
    if (answers.all_ended()) return std::move(answers).result();
    const at::Tensor positions = answers.last_positions();
    if (turns_otherwise_at(positions)) {
      const GenerationBatch so_far = answers.open_so_far();
      cache = cache_for(so_far);
      next = read_prompts(so_far, cache);
      continue;
    }
    if (kept.size(0) < next.size(0)) cache.keep(moved_to(decoder_.device(), kept));
    next = continue_by(answers.last_tokens(), positions, cache);
  }
}

void Generator::release_memory() {
  buffers_ = {};
  release_cached_memory(decoder_.device());
}

KeyValueCache Generator::cache_for(const GenerationBatch& batch) const {
  return {
      decoder_.config().layers.size(),
      std::ssize(batch.prompts),
      most_tokens(batch),
      decoder_.weights().heads.kv_heads.size(),
      decoder_.config().head_dim,
      decoder_.device()};
}

bool Generator::turns_otherwise_at(const at::Tensor& positions) const {
  return std::ranges::any_of(decoder_.config().ropes, [&](const RopeConfig& rope) {
    if (rope.scaling != RopeScaling::LongRope) return false;
    // A sequence is a long one from this position on, its first tokens included.
    return positions.eq(rope.original_max_positions).any().item<bool>();
  });
}

at::Tensor Generator::read_prompts(const GenerationBatch& batch, KeyValueCache& cache) {
  const Batch bases = batch_of_bases(batch);
  const at::Device device = decoder_.device();
  std::vector<std::int64_t> tokens;
  std::vector<std::int64_t> sequences;  // of the rows
  for (std::size_t i = 0; i < bases.pieces.size(); ++i) {
    const std::vector<std::int32_t>& prompt = bases.pieces[i].tokens;
    tokens.insert(tokens.end(), prompt.begin(), prompt.end());
    sequences.insert(sequences.end(), prompt.size(), static_cast<std::int64_t>(i));
  }
  SweepLayout layout = lay_out_sweep(
      bases, std::vector<std::vector<KeyFactors>>(bases.pieces.size()), kSweepBlockRows);
  layout.move_to(device);
  const at::Tensor sequence = moved_to(device, index_tensor(sequences));
  SweepAttention attention(
      layout,
      decoder_.weights().heads.runs,
      decoder_.config().head_dim,
      compute_,
      device,
      buffers_);
  const at::Tensor key_bias = decoder_.key_bias(most_tokens(batch));
  return most_likely(
      layout, index_tensor(tokens), [&](std::size_t index, const LayerWeights& layer) {
        return cache.remembering(
            index,
            attention.layer(decoder_.attention_options(index, layer, key_bias)),
            sequence,
            layout.positions);
      });
}

at::Tensor Generator::continue_by(
    const at::Tensor& tokens, const at::Tensor& positions, KeyValueCache& cache) {
  const auto last_position = positions.max().item<std::int64_t>();
  const SweepLayout layout = layout_of_rows(moved_to(decoder_.device(), positions));
  const at::Tensor key_bias = decoder_.key_bias(last_position + 1);
  return most_likely(layout, tokens, [&](std::size_t index, const LayerWeights& layer) {
    return cache.continuing(
        index, decoder_.attention_options(index, layer, key_bias), layout.positions, last_position);
  });
}

template <typename AttentionOf>
at::Tensor Generator::most_likely(
    const SweepLayout& layout, const at::Tensor& token_ids, const AttentionOf& attention) {
  const DecoderWeights& weights = decoder_.weights();
  at::Tensor x =
      decoder_.embed(weights.embedding(moved_to(decoder_.device(), token_ids)), layout.positions);
  ValueRows rows;
  for (std::size_t l = 0; l < decoder_.config().layers.size(); ++l) {
    const LayerWeights layer = with_dtype(layers_.layer(l), base_dtype(compute_));
    LayerPass pass{.index = l, .layout = layout, .attention = attention(l, layer)};
    x = decoder_.through_layer(layer, pass, layout.blocks[0], rows, std::move(x));
  }
  const at::Tensor tokens = weights.head.most_likely(decoder_.head_input(rows, x));
  // A partner that fails would leave a GPU waiting, and with it the copy.
  weights.embedding.tensor_ranks->synchronize();
  return tokens.to(at::kCPU);
}

}  // namespace limn
