#include "coordinator/character_classes.h"

#include <cstdint>
#include <string_view>

#include <unicode/uchar.h>

#include "coordinator/newer_characters.h"

namespace limn {

namespace {

// The libraries that Python's `tokenizers` is made of know different versions of Unicode. To what
// came later they give no category.
constexpr std::uint8_t kVersionOfBert = 8;
constexpr std::uint8_t kVersionOfMarks = 9;

std::uint32_t category_mask(char32_t character) {
  return U_GET_GC_MASK(static_cast<UChar32>(character));
}

std::uint32_t category_mask(char32_t character, std::uint8_t version) {
  UVersionInfo age;
  u_charAge(static_cast<UChar32>(character), age);
  return age[0] <= version ? category_mask(character) : std::uint32_t{U_GC_CN_MASK};
}

// Most text is ASCII, and needs no look at ICU's tables.
bool is_ascii(char32_t character) {
  return character < 0x80;
}

bool is_ascii_letter(char32_t character) {
  return (character >= U'a' && character <= U'z') || (character >= U'A' && character <= U'Z');
}

bool is_ascii_punctuation(char32_t character) {
  return (character > U' ' && character < U'0') || (character > U'9' && character < U'A') ||
         (character > U'Z' && character < U'a') || (character > U'z' && character < 0x7F);
}

struct LowerCaseRange {
  char32_t first;
  char32_t last;
  char32_t first_lower;
};

// From the Unicode Character Database 17.0: what UnicodeData.txt has beyond version 15.0.
constexpr LowerCaseRange kNewerLowerCase[] = {
    {0x1C89, 0x1C89, 0x1C8A},
    {0xA7CB, 0xA7CB, 0x264},
    {0xA7CC, 0xA7CC, 0xA7CD},
    {0xA7CE, 0xA7CE, 0xA7CF},
    {0xA7D2, 0xA7D2, 0xA7D3},
    {0xA7D4, 0xA7D4, 0xA7D5},
    {0xA7DA, 0xA7DA, 0xA7DB},
    {0xA7DC, 0xA7DC, 0x19B},
    {0x10D50, 0x10D65, 0x10D70},
    {0x16EA0, 0x16EB8, 0x16EBB},
};

}  // namespace

bool is_unicode_space(char32_t character) {
  if (is_ascii(character)) return character == U' ' || (character >= U'\t' && character <= U'\r');
  return u_isUWhiteSpace(static_cast<UChar32>(character)) != 0;
}

bool is_word_character(char32_t character) {
  if (is_ascii(character)) {
    return is_ascii_letter(character) || character == U'_' ||
           (character >= U'0' && character <= U'9');
  }
  constexpr std::uint32_t kMask = U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK;
  const auto c = static_cast<UChar32>(character);
  if (u_isUAlphabetic(c) || (category_mask(character) & kMask) != 0 ||
      u_hasBinaryProperty(c, UCHAR_JOIN_CONTROL)) {
    return true;
  }
  const std::string_view newer = newer_category(character);
  return newer.starts_with('L') || newer.starts_with('M') || newer == "Nd" || newer == "Pc";
}

bool is_punctuation(char32_t character) {
  if (is_ascii(character)) return is_ascii_punctuation(character);
  // Of these two Unicode changed its mind.
  if (character == 0x166D || character == 0x111C9) return true;
  return (category_mask(character, kVersionOfBert) & U_GC_P_MASK) != 0;
}

bool is_bert_control(char32_t character) {
  constexpr std::uint32_t kMask = U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CO_MASK;
  if (character == U'\t' || character == U'\n' || character == U'\r') return false;
  if (is_ascii(character)) return character < U' ' || character == 0x7F;
  return (category_mask(character, kVersionOfBert) & kMask) != 0;
}

bool is_bert_ideograph(char32_t character) {
  const auto is_in = [&](char32_t first, char32_t last) {
    return first <= character && character <= last;
  };
  // Extension E begins at 2B820, but here at 2B920, as in Python's `tokenizers`.
  return is_in(0x4E00, 0x9FFF) || is_in(0x3400, 0x4DBF) || is_in(0xF900, 0xFAFF) ||
         is_in(0x20000, 0x2A6DF) || is_in(0x2A700, 0x2B73F) || is_in(0x2B740, 0x2B81F) ||
         is_in(0x2B920, 0x2CEAF) || is_in(0x2F800, 0x2FA1F);
}

bool is_nonspacing_mark(char32_t character) {
  if (character < 0x300) return false;
  if (character == 0x1734) return true;
  if (character == 0x1885 || character == 0x1886 || character == 0xA9BD || character == 0x111C9) {
    return false;
  }
  return (category_mask(character, kVersionOfBert) & U_GC_MN_MASK) != 0;
}

bool is_combining_mark(char32_t character) {
  if (character < 0x300) return false;
  if (character == 0x1CF2 || character == 0x1CF3) return true;
  if (character == 0x111C9) return false;
  return (category_mask(character, kVersionOfMarks) & U_GC_M_MASK) != 0;
}

char32_t lower_case(char32_t character) {
  if (is_ascii(character)) {
    const bool is_upper = character >= U'A' && character <= U'Z';
    return is_upper ? character + (U'a' - U'A') : character;
  }
  for (const LowerCaseRange& range : kNewerLowerCase) {
    if (range.first <= character && character <= range.last) {
      return range.first_lower + (character - range.first);
    }
  }
  return static_cast<char32_t>(u_tolower(static_cast<UChar32>(character)));
}

}  // namespace limn
