// The tokens that end a model's answer.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

namespace limn {

// `eos_token_id` of the checkpoint's generation_config.json, or else of its config.json, in their
// order; none where neither has one. Throws IoError, DataError naming file and key.
std::vector<std::int32_t> read_end_tokens(const std::filesystem::path& model_folder);

}  // namespace limn
