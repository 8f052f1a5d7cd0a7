#include "coordinator/byte_alphabet.h"

#include <array>
#include <cstddef>
#include <cstdint>

#include <unicode/utf8.h>

#include "coordinator/code_points.h"

namespace limn {

namespace {

// Bytes that are printable in Latin-1 stand for themselves, the others for U+0100 and what follows.
constexpr bool is_printable(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr std::array<char16_t, 256> make_alphabet() {
  std::array<char16_t, 256> characters = {};
  char16_t next = 0x100;
  for (unsigned byte = 0; byte < characters.size(); ++byte) {
    characters[byte] = is_printable(byte) ? static_cast<char16_t>(byte) : next++;
  }
  return characters;
}

constexpr std::array<char16_t, 256> kAlphabet = make_alphabet();
constexpr std::size_t kAlphabetEnd = 0x144;  // one more than its last character

constexpr std::array<std::int16_t, kAlphabetEnd> make_bytes() {
  std::array<std::int16_t, kAlphabetEnd> bytes = {};
  bytes.fill(-1);
  for (std::size_t byte = 0; byte < kAlphabet.size(); ++byte) {
    bytes[kAlphabet[byte]] = static_cast<std::int16_t>(byte);
  }
  return bytes;
}

constexpr std::array<std::int16_t, kAlphabetEnd> kBytes = make_bytes();

}  // namespace

void append_byte_characters(const AlignedView& text, AlignedText& result) {
  for (std::size_t i = 0; i < text.bytes.size(); ++i) {
    const char16_t character = kAlphabet[static_cast<unsigned char>(text.bytes[i])];
    char encoded[U8_MAX_LENGTH];
    std::size_t size = 0;
    U8_APPEND_UNSAFE(encoded, size, character);
    result.append({encoded, size}, text.origin[i]);
  }
}

std::optional<std::string> bytes_of_characters(std::string_view characters) {
  std::string bytes;
  for (std::size_t i = 0; i < characters.size();) {
    const auto place = static_cast<std::size_t>(next_code_point(characters, i));
    if (place >= kAlphabetEnd || kBytes[place] < 0) return std::nullopt;
    bytes += static_cast<char>(kBytes[place]);
  }
  return bytes;
}

}  // namespace limn
