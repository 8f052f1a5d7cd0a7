// SentencePiece models without a tokenizer file.
#pragma once

#include <filesystem>
#include <memory>

#include "coordinator/text_encoder.h"

namespace limn {

// FOLDER/tokenizer.model, with what FOLDER/tokenizer_config.json (if it is there) says of the
// tokens at a text's ends: `add_bos_token` (true where it is missing, if the model has such a
// token), `add_eos_token` (false), `bos_token` and `eos_token` (the model's own). Throws IoError
// when a file cannot be read, DataError when one is damaged or names a token that the model does
// not have.
std::unique_ptr<const TextEncoder> load_sentence_piece_tokenizer(
    const std::filesystem::path& folder);

}  // namespace limn
