#include "coordinator/character_map.h"

#include <array>
#include <cstddef>

#include "coordinator/code_points.h"
#include "coordinator/graphemes.h"
#include "storage/error.h"

namespace limn {

namespace {

// A unit of Darts-clone's double array, which SentencePiece writes.
class Unit {
 public:
  explicit Unit(std::uint32_t bits) : bits_(bits) {}

  bool has_leaf() const { return ((bits_ >> 8) & 1) != 0; }

  std::uint32_t value() const { return bits_ & 0x7FFF'FFFF; }

  // The byte that leads here; more than a byte for a leaf, which none leads to.
  std::uint32_t label() const { return bits_ & 0x8000'00FF; }

  std::uint32_t offset() const { return (bits_ >> 10) << ((bits_ & 0x200) >> 6); }

 private:
  std::uint32_t bits_;
};

constexpr std::uint8_t kNoDigit = 64;

constexpr std::array<std::uint8_t, 256> make_base64_digits() {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::array<std::uint8_t, 256> digits = {};
  digits.fill(kNoDigit);
  for (std::size_t i = 0; i < kDigits.size(); ++i) {
    digits[static_cast<unsigned char>(kDigits[i])] = static_cast<std::uint8_t>(i);
  }
  return digits;
}

std::string decode_base64(const CheckedJson& base64) {
  static constexpr std::array<std::uint8_t, 256> kDigits = make_base64_digits();
  std::string_view digits = base64.string();
  for (int padding = 0; padding < 2 && digits.ends_with('='); ++padding) {
    digits.remove_suffix(1);
  }
  std::string bytes;
  bytes.reserve(digits.size() / 4 * 3 + 3);
  std::uint32_t bits = 0;
  int num_bits = 0;
  for (const char c : digits) {
    const std::uint8_t digit = kDigits[static_cast<unsigned char>(c)];
    if (digit == kNoDigit) base64.refuse("must be base64");
    bits = (bits << 6) | digit;
    num_bits += 6;
    if (num_bits >= 8) {
      num_bits -= 8;
      bytes += static_cast<char>((bits >> num_bits) & 0xFF);
    }
  }
  return bytes;
}

std::uint32_t little_endian(std::string_view bytes) {
  std::uint32_t result = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    result |= static_cast<std::uint32_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
  }
  return result;
}

// Says of what replaces a text where its characters come from, as Python's `tokenizers` does: the
// last ones of a longer text are inserted, the last of a shorter one takes the places of those that
// are gone. After no text at all that is the last one before, even if it was inserted itself; where
// there is none, all that follow come from too early.
void append_replacement(
    std::string_view replaced, std::string_view text, std::vector<CharacterChange>& changes) {
  const std::int64_t surplus = num_code_points(text) - num_code_points(replaced);
  for (std::size_t i = 0; i < text.size();) {
    changes.push_back({next_code_point(text, i), 0});
  }
  for (std::int64_t i = 0; i < surplus; ++i) {
    changes[changes.size() - 1 - static_cast<std::size_t>(i)].change = 1;
  }
  if (surplus < 0 && !changes.empty()) changes.back().change += static_cast<std::int32_t>(surplus);
}

}  // namespace

CharacterMap::CharacterMap(const CheckedJson& base64) {
  const std::string bytes = decode_base64(base64);
  constexpr std::size_t kSizeBytes = 4;
  if (bytes.size() < kSizeBytes) base64.refuse("must have a trie");
  const std::size_t trie_bytes = little_endian(bytes);
  const bool is_trie = trie_bytes > 0 && trie_bytes % 4 == 0 && trie_bytes <= bytes.size() - 4;
  if (!is_trie) base64.refuse("must have a trie as long as it says");
  for (std::size_t i = 0; i < trie_bytes; i += 4) {
    units_.push_back(little_endian(std::string_view(bytes).substr(kSizeBytes + i, 4)));
  }
  texts_ = bytes.substr(kSizeBytes + trie_bytes);
  try {
    code_point_offsets(texts_);
  } catch (const DataError&) {
    base64.refuse("must have texts of UTF-8");
  }
}

std::optional<std::string_view> CharacterMap::find(std::string_view text) const {
  std::uint32_t place = Unit(units_.front()).offset();
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte == 0) return std::nullopt;
    place ^= byte;
    if (place >= units_.size()) return std::nullopt;
    const Unit unit(units_[place]);
    if (unit.label() != byte) return std::nullopt;
    place ^= unit.offset();
    if (place >= units_.size()) return std::nullopt;
    if (!unit.has_leaf()) continue;
    const std::size_t begin = Unit(units_[place]).value();
    if (begin > texts_.size()) return std::nullopt;
    const std::string_view rest = std::string_view(texts_).substr(begin);
    if (!rest.empty() && !begins_code_point(rest.front())) return std::nullopt;
    return rest.substr(0, rest.find('\0'));
  }
  return std::nullopt;
}

void CharacterMap::append_mapped(const AlignedView& text, AlignedText& result) const {
  constexpr std::size_t kLongestGrapheme = 5;
  std::vector<CharacterChange> changes;
  changes.reserve(text.bytes.size());
  bool is_mapped = false;
  for (std::size_t begin = 0; begin < text.bytes.size();) {
    const std::size_t end = end_of_grapheme(text.bytes, begin);
    const std::string_view grapheme = text.bytes.substr(begin, end - begin);
    begin = end;
    if (grapheme.size() <= kLongestGrapheme) {
      if (const auto replacement = find(grapheme)) {
        append_replacement(grapheme, *replacement, changes);
        is_mapped = true;
        continue;
      }
    }
    for (std::size_t i = 0; i < grapheme.size();) {
      const std::string_view character = grapheme.substr(i, code_point_size(grapheme[i]));
      i += character.size();
      if (const auto replacement = find(character)) {
        append_replacement(character, *replacement, changes);
        is_mapped = true;
      } else {
        std::size_t first = 0;
        changes.push_back({next_code_point(character, first), 0});
      }
    }
  }
  if (is_mapped) {
    append_changed(changes, text, result);
  } else {
    result.append(text.bytes, text.origin);
  }
}

}  // namespace limn
