// The weights of a decoder, as one tensor rank holds them.
#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

#include "sharding/communicator.h"
#include "sharding/parallel_linear.h"
#include "sharding/parallel_vocabulary.h"
#include "sharding/shard_layout.h"
#include "storage/checkpoint.h"
#include "worker/model_family.h"

namespace limn {

struct LayerWeights {
  at::Tensor attention_norm;             // [hidden]
  ColumnParallelLinear query_key_value;  // [(heads + 2 kv_heads)/t * head_dim, hidden]
  RowParallelLinear attention_out;       // [hidden, heads/t * head_dim]
  at::Tensor mlp_norm;                   // [hidden]
  ColumnParallelLinear gate_up;          // [2 inner/t, hidden], the gate's rows first
  RowParallelLinear down;                // [hidden, inner/t]
};

struct DecoderWeights {
  HeadShard heads;
  VocabularyParallelEmbedding embedding;  // [vocab/t, hidden]
  std::vector<LayerWeights> layers;
  at::Tensor final_norm;           // [hidden]
  VocabularyParallelLogProb head;  // [vocab/t, hidden]
};

// Reads this rank's slices as float32. Borrows: `tensor_ranks`, for as long as the weights live.
// Throws DataError naming the tensors (ten at most, and their number) that are missing or misshapen
// or, where none is, those that the config does not explain; JobError when there are more tensor
// ranks than heads.
DecoderWeights load_decoder_weights(
    const Checkpoint& checkpoint, const ModelConfig& model, Communicator& tensor_ranks);

}  // namespace limn
