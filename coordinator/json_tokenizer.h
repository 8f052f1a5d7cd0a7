// Hugging Face's tokenizer files.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "coordinator/text_encoder.h"

namespace limn {

// A tokenizer.json. Throws IoError when it cannot be read, DataError when it is damaged or asks for
// what is not known, naming that.
std::unique_ptr<const TextEncoder> load_json_tokenizer(const std::filesystem::path& file);

// The same of a document that was read; `file` names it in messages.
std::unique_ptr<const TextEncoder> make_json_tokenizer(
    const nlohmann::json& json, const std::string& file);

}  // namespace limn
