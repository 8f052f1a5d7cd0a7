// The forward pass of a decoder, layer by layer, for packed rows of any kind.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "worker/decoder_config.h"
#include "worker/decoder_weights.h"
#include "worker/rotary.h"
#include "worker/row_arithmetic.h"
#include "worker/suppressed_attention.h"
#include "worker/sweep_layout.h"

namespace limn {

// Queries, keys and values of some rows, each [rows, heads, head_dim], rotated.
struct Projections {
  at::Tensor queries;
  at::Tensor keys;
  at::Tensor values;

  Projections rows(const at::Tensor& indices) const;
};

// A layer under way.
struct LayerPass {
  std::size_t index = 0;
  const SweepLayout& layout;
  std::unique_ptr<LayerAttention> attention;
  Projections base_projections;  // in layer 0, where they are those of all rows
};

// Of rows, all tensors are those of this rank and on the device of the weights. Borrows: the config
// and the weights. Threads: immutable; the calls are collective over the tensor ranks.
class DecoderForward {
 public:
  DecoderForward(const DecoderConfig& config, const DecoderWeights& weights);

  const DecoderConfig& config() const { return config_; }

  const DecoderWeights& weights() const { return weights_; }

  at::Device device() const { return weights_.embedding.weight.device(); }

  // The residual stream that enters layer 0, [rows, hidden] float32, of the rows' token embeddings
  // and positions [rows] int64.
  at::Tensor embed(const at::Tensor& embeddings, const at::Tensor& positions) const;

  // Takes the rows of a block through a layer; in the last one only the target rows leave it.
  at::Tensor through_layer(
      const LayerWeights& layer,
      LayerPass& pass,
      const RowBlock& block,
      RowArithmetic& rows,
      at::Tensor x) const;

  // What the head multiplies, from what leaves the last layer: [rows, width].
  at::Tensor head_input(RowArithmetic& rows, const at::Tensor& x) const;

  // [heads/t, num_keys], what the positions of keys add to logits; undefined where they add
  // nothing.
  at::Tensor key_bias(std::int64_t num_keys) const;

  // Without suppression.
  AttentionOptions attention_options(
      std::size_t layer_index, const LayerWeights& layer, const at::Tensor& key_bias) const;

 private:
  Projections project(
      const LayerWeights& layer,
      const LayerPass& pass,
      const RowBlock& block,
      RowArithmetic& rows,
      const at::Tensor& x) const;

  const DecoderConfig& config_;
  const DecoderWeights& weights_;
  std::vector<RotaryEmbedding> rotaries_;  // as DecoderConfig::ropes
};

}  // namespace limn
