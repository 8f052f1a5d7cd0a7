// Model families as data: how a family's config.json and tensor names map to the decoder's.
#pragma once

#include <filesystem>
#include <string_view>

#include "worker/decoder_config.h"

namespace limn {

// How the projections to queries, keys and values are stored.
enum class QkvLayout {
  Separate,      // three tensors
  Concatenated,  // one: all query heads, all key heads, all value heads
  Grouped,       // one: for each key/value head its query heads, its key, its value
};

// How the experts of a layer are stored.
enum class ExpertsLayout {
  Separate,  // gate, up and down of each expert, [out, in]
  Stacked,   // two tensors of all experts, [expert, in, out], gate and up column by column in turn
};

// Where the decoder's tensors are in a checkpoint. A layer's names follow `layer`, in which {}
// stands for its number; everything but `head` follows `prefix`. Linear layers and norms are
// NAME.weight and, where the config says so, NAME.bias. An empty name: the family has no such
// tensor.
struct TensorNames {
  std::string_view prefix;  // files without it are read, too
  std::string_view embedding;
  std::string_view positions;
  std::string_view embedding_norm;
  std::string_view project_in;   // from the embedding's width to hidden
  std::string_view project_out;  // and back
  std::string_view layer;

  std::string_view attention_in_norm;
  std::string_view attention_out_norm;
  std::string_view mlp_in_norm;  // equal to attention_in_norm: one norm for both
  std::string_view mlp_out_norm;

  QkvLayout qkv_layout = QkvLayout::Separate;
  std::string_view query;  // one tensor: its name
  std::string_view key;
  std::string_view value;
  std::string_view
      query_norm;  // in which {} stands for the head, where each has a tensor of its own
  std::string_view key_norm;
  std::string_view sinks;
  std::string_view attention_out;

  std::string_view gate;  // empty: `up` holds both, the gate's rows first
  std::string_view up;
  std::string_view down;

  std::string_view router;
  ExpertsLayout experts_layout = ExpertsLayout::Separate;
  std::string_view expert_gate;  // in which {} stands for the expert; Stacked: gate and up
  std::string_view expert_up;
  std::string_view expert_down;

  std::string_view final_norm;
  std::string_view head;
  bool head_bias = false;  // the family's checkpoints have one; where others do, it is read, too

  bool transposed = false;  // linear layers are stored as [in, out] (GPT-2's Conv1D)
};

struct ModelConfig {
  std::string_view model_type;
  DecoderConfig decoder;
  TensorNames names;
};

// Reads FOLDER/config.json. Throws IoError when it is missing; DataError, naming the key, when its
// model_type or an option that would change the result is not known, or a size is missing or
// impossible.
ModelConfig load_model_config(const std::filesystem::path& folder);

// Reads a config.json of any name. Throws as load_model_config().
ModelConfig read_model_config(const std::filesystem::path& file);

}  // namespace limn
