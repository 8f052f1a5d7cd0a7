// The keys and values of sequences that a model continues token by token.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "worker/suppressed_attention.h"

namespace limn {

// Of all layers, for sequences of different lengths, float32. Threads: one thread at a time.
class KeyValueCache {
 public:
  // Room for `num_sequences` of at most `capacity` tokens each; `num_kv_heads` are this rank's.
  KeyValueCache(
      std::size_t num_layers,
      std::int64_t num_sequences,
      std::int64_t capacity,
      std::int64_t num_kv_heads,
      std::int64_t head_dim,
      at::Device device);

  // Drops all sequences but these: [kept] int64, ascending.
  void keep(const at::Tensor& sequences);

  // The attention of a layer over whole prompts, which `inner` computes and this one remembers.
  // `sequences` and `positions`: those of the rows, [rows] int64. Borrows: the cache.
  std::unique_ptr<LayerAttention> remembering(
      std::size_t layer,
      std::unique_ptr<LayerAttention> inner,
      const at::Tensor& sequences,
      const at::Tensor& positions);

  // The attention of a layer for one new row of each sequence, at `positions` [sequences] int64,
  // none of them beyond `last_position`: it remembers their keys and values, and the rows see all
  // that is remembered up to their own. The options' suppression is not used. Borrows: the cache.
  std::unique_ptr<LayerAttention> continuing(
      std::size_t layer,
      AttentionOptions options,
      const at::Tensor& positions,
      std::int64_t last_position);

 private:
  class Remembering;
  class Continuing;

  struct Layer {
    at::Tensor keys;    // [sequences, kv_heads, capacity, head_dim]
    at::Tensor values;  // the same

    // `new_keys` and `new_values` [rows, kv_heads, head_dim]
    void write(
        const at::Tensor& sequences,
        const at::Tensor& positions,
        const at::Tensor& new_keys,
        const at::Tensor& new_values);
  };

  std::vector<Layer> layers_;
};

}  // namespace limn
