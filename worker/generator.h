// Lets a model answer: greedy decoding.
#pragma once

#include <ATen/core/Tensor.h>

#include "coordinator/generation.h"
#include "worker/decoder_forward.h"
#include "worker/key_value_cache.h"
#include "worker/layer_source.h"
#include "worker/suppressed_attention.h"
#include "worker/sweep_compute.h"

namespace limn {

// Continues prompts on the tensor ranks of one group, on the device of the weights, by the most
// likely token each time. Computes as a sweep computes its base rows, so that an answer is the one
// whose log-probabilities are then explained. Borrows: the config, the weights and the layers.
// Threads: one thread at a time.
class Generator {
 public:
  Generator(
      const DecoderConfig& config,
      const DecoderWeights& weights,
      LayerSource& layers,
      SweepCompute compute);
  Generator(const Generator&) = delete;
  Generator& operator=(const Generator&) = delete;

  // The answer to each prompt, up to an end token or the prompt's own limit. The same on every rank
  // of the group, and in every run with as many tensor ranks and threads. Collective over the
  // group, with the same batch. Waits. Requires: prompts that are not empty and leave the model
  // room for their max_new_tokens.
  GenerationResult run(const GenerationBatch& batch);

  // Gives back what is kept in memory between two batches, for after one that ended in the middle.
  void release_memory();

 private:
  KeyValueCache cache_for(const GenerationBatch& batch) const;

  // Whether a sequence whose last token is at one of these positions, [sequences] int64, turns its
  // keys otherwise than a shorter one did (LongRope): then what is cached of it is void, and
  // transformers, too, reads it anew.
  bool turns_otherwise_at(const at::Tensor& positions) const;

  // The next token of each prompt, [prompts] int64, whose keys and values the cache then has.
  at::Tensor read_prompts(const GenerationBatch& batch, KeyValueCache& cache);

  // The next token of each sequence of the cache, given the last ones and their positions:
  // [sequences] int64, on the host.
  at::Tensor continue_by(
      const at::Tensor& tokens, const at::Tensor& positions, KeyValueCache& cache);

  // Through all layers, to the most likely token of every target row of the one block. `attention`
  // gives the attention of a layer from its index and weights.
  template <typename AttentionOf>
  at::Tensor most_likely(
      const SweepLayout& layout, const at::Tensor& token_ids, const AttentionOf& attention);

  DecoderForward decoder_;
  LayerSource& layers_;
  SweepCompute compute_;
  AttentionBuffers buffers_;
};

}  // namespace limn
