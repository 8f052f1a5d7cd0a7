// Model families as data: how a family's config.json and tensor names map to the decoder's.
#pragma once

#include <filesystem>
#include <string_view>

#include "worker/decoder_config.h"

namespace limn {

// A linear layer's tensors are NAME.weight and, where the config has biases, NAME.bias; layer names
// follow the family's prefix and the layer's number.
struct TensorNames {
  std::string_view embedding;
  std::string_view layer_prefix;  // "{}" stands for the layer's number
  std::string_view attention_norm;
  std::string_view query;
  std::string_view key;
  std::string_view value;
  std::string_view attention_out;
  std::string_view mlp_norm;
  std::string_view gate;
  std::string_view up;
  std::string_view down;
  std::string_view final_norm;
  std::string_view head;
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

}  // namespace limn
