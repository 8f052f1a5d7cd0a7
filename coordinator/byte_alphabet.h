// The alphabet of byte-level tokenizers: a printable character for each of the 256 bytes (GPT-2's).
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "coordinator/pieced_text.h"

namespace limn {

// Appends the characters of the bytes of `text`, each with its byte's origin.
void append_byte_characters(const AlignedView& text, AlignedText& result);

// The bytes that `characters` stand for, nothing if one of them stands for none. Requires: valid
// UTF-8.
std::optional<std::string> bytes_of_characters(std::string_view characters);

}  // namespace limn
