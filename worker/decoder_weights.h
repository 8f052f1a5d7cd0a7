// The weights of a decoder, as one tensor rank holds them.
#pragma once

#include <optional>
#include <variant>
#include <vector>

#include <ATen/core/Tensor.h>

#include "coordinator/job.h"
#include "sharding/communicator.h"
#include "sharding/parallel_linear.h"
#include "sharding/parallel_vocabulary.h"
#include "sharding/shard_layout.h"
#include "sharding/shard_source.h"
#include "storage/checkpoint.h"
#include "worker/mlp.h"
#include "worker/model_family.h"
#include "worker/norm.h"

namespace limn {

// Of queries or keys, before they are rotated: over each head, or over all heads of all ranks.
using HeadNorm = std::variant<Norm, AllHeadsNorm>;

struct AttentionWeights {
  ColumnParallelLinear query_key_value;  // [(heads + 2 kv_heads)/t * head_dim, hidden]
  std::optional<HeadNorm> query_norm;
  std::optional<HeadNorm> key_norm;
  at::Tensor sinks;       // [heads/t]; undefined: none
  RowParallelLinear out;  // [hidden, heads/t * head_dim]
};

// A norm that a block does not have is the identity.
struct LayerWeights {
  std::optional<Norm> attention_in_norm;
  AttentionWeights attention;
  std::optional<Norm> attention_out_norm;
  std::optional<Norm> mlp_in_norm;
  std::variant<Mlp, ExpertMlp> mlp;
  std::optional<Norm> mlp_out_norm;
};

// The layer with all matrices as `dtype`; those that are so already are shared. On a GPU those of
// linear layers in bfloat16 that are wanted as float32 stay what they are and are multiplied by
// wide_product(), which gives the same.
LayerWeights with_dtype(const LayerWeights& layer, at::ScalarType dtype);

// The layer with the matrices of its linear layers as float8 e4m3, each row (an output) with a
// scale of its own. On a GPU. Experts, and matrices whose sides are not multiples of 16, are
// bfloat16.
LayerWeights in_float8(const LayerWeights& layer);

struct DecoderWeights {
  HeadShard heads;
  VocabularyParallelEmbedding embedding;  // [vocab/t, width]
  at::Tensor positions;                   // [max_positions + offset, hidden]; undefined: none
  at::Tensor project_in;                  // [hidden, width]; undefined: none
  std::optional<Norm> embedding_norm;
  std::vector<LayerWeights> layers;
  std::optional<Norm> final_norm;
  at::Tensor project_out;          // [width, hidden]; undefined: none
  VocabularyParallelLogProb head;  // [vocab/t, width]
};

// The dtype in which the checkpoint stores its embedding, and as a rule everything: bfloat16,
// float16 or float32 (which all else becomes).
at::ScalarType stored_dtype(const Checkpoint& checkpoint, const ModelConfig& model);

// Takes this rank's slices of one layer from `source`, as read_decoder_weights() does. Not
// collective: of `tensor_ranks` nothing is asked but rank and size, which may be in use elsewhere.
LayerWeights read_layer_weights(
    ShardSource& source,
    const ModelConfig& model,
    Communicator& tensor_ranks,
    at::ScalarType dtype,
    std::size_t layer);

// Takes this rank's slices from `source`; a tensor that it does not have stays undefined. Matrices
// and tables are kept as `dtype`, norms, biases and routers as float32. Borrows: `tensor_ranks`,
// for as long as the weights live. Throws JobError when there are more tensor ranks than heads.
DecoderWeights read_decoder_weights(
    ShardSource& source,
    const ModelConfig& model,
    Communicator& tensor_ranks,
    at::ScalarType dtype);

// Reads this rank's slices of a checkpoint. Matrices and tables are kept as `dtype`, whatever is
// stored; norms, biases and routers as float32. Borrows: `tensor_ranks`, for as long as the weights
// live. Throws DataError naming the tensors (ten at most, and their number) that are missing,
// misshapen or not expected; JobError when there are more tensor ranks than heads. On a GPU all
// tensors lie there. Streamed layers are checked like all others, but not read and not among the
// weights.
DecoderWeights load_decoder_weights(
    const Checkpoint& checkpoint,
    const ModelConfig& model,
    Communicator& tensor_ranks,
    at::ScalarType dtype,
    at::Device device = at::kCPU,
    WeightPlacement placement = WeightPlacement::Resident);

}  // namespace limn
