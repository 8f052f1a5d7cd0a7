// What the module liblimn_sentence_piece.so exports.
#pragma once

#include <cstddef>
#include <string>

#include "coordinator/sentence_piece_model.h"

namespace limn {

inline constexpr const char* kSentencePieceModule = "liblimn_sentence_piece.so";
inline constexpr const char* kReadSentencePieceModel = "limn_read_sentence_piece_model";

// Reads a model; the caller owns it. Null when it is none, with the reason in `refusal`.
using ReadSentencePieceModel =
    SentencePieceModel* (*)(const char* bytes, std::size_t num_bytes, std::string& refusal);

}  // namespace limn
