#include "coordinator/graphemes.h"

#include <algorithm>
#include <cstdint>

#include <unicode/uchar.h>
#include <unicode/uscript.h>

#include "coordinator/code_points.h"
#include "coordinator/newer_characters.h"

namespace limn {

namespace {

std::int32_t property(char32_t character, UProperty property) {
  return u_getIntPropertyValue(static_cast<UChar32>(character), property);
}

struct MarkRange {
  char32_t first;
  char32_t last;
};

// From the Unicode Character Database 17.0: what DerivedAge.txt has with 17.0, of the categories Mn
// and Mc in DerivedGeneralCategory.txt.
constexpr MarkRange kMarksOfUnicode17[] = {
    {0x1ACF, 0x1ADD},
    {0x1AE0, 0x1AEB},
    {0x10EFA, 0x10EFB},
    {0x11B60, 0x11B67},
    {0x1E6E3, 0x1E6E3},
    {0x1E6E6, 0x1E6E6},
    {0x1E6EE, 0x1E6EF},
    {0x1E6F5, 0x1E6F5},
};

bool is_mark_of_unicode_17(char32_t character) {
  return std::ranges::any_of(kMarksOfUnicode17, [&](const MarkRange& range) {
    return range.first <= character && character <= range.last;
  });
}

bool is_ascii(char byte) {
  return static_cast<unsigned char>(byte) < 0x80;
}

UGraphemeClusterBreak break_class(char32_t character) {
  const std::string_view newer = newer_category(character);
  if (newer == "Mn" || is_mark_of_unicode_17(character)) return U_GCB_EXTEND;
  if (newer == "Mc") return U_GCB_SPACING_MARK;
  return static_cast<UGraphemeClusterBreak>(property(character, UCHAR_GRAPHEME_CLUSTER_BREAK));
}

bool is_control(UGraphemeClusterBreak kind) {
  return kind == U_GCB_CONTROL || kind == U_GCB_CR || kind == U_GCB_LF;
}

bool is_pictograph(char32_t character) {
  return u_hasBinaryProperty(static_cast<UChar32>(character), UCHAR_EXTENDED_PICTOGRAPHIC) != 0;
}

// Scripts whose consonants are joined by a virama (rule GB9c, which came with Unicode 15.1).
bool joins_consonants(char32_t character) {
  UErrorCode error = U_ZERO_ERROR;
  switch (uscript_getScript(static_cast<UChar32>(character), &error)) {
    case USCRIPT_BENGALI:
    case USCRIPT_DEVANAGARI:
    case USCRIPT_GUJARATI:
    case USCRIPT_MALAYALAM:
    case USCRIPT_ORIYA:
    case USCRIPT_TELUGU:
      return true;
    default:
      return false;
  }
}

bool is_joined_consonant(char32_t character) {
  return character >= 0x900 && joins_consonants(character) &&
         property(character, UCHAR_INDIC_SYLLABIC_CATEGORY) == U_INSC_CONSONANT;
}

bool is_virama(char32_t character) {
  return character >= 0x900 && joins_consonants(character) &&
         property(character, UCHAR_INDIC_SYLLABIC_CATEGORY) == U_INSC_VIRAMA;
}

// Hangul syllables (GB6, GB7, GB8).
bool is_one_syllable(UGraphemeClusterBreak left, UGraphemeClusterBreak right) {
  switch (left) {
    case U_GCB_L:
      return right == U_GCB_L || right == U_GCB_V || right == U_GCB_LV || right == U_GCB_LVT;
    case U_GCB_LV:
    case U_GCB_V:
      return right == U_GCB_V || right == U_GCB_T;
    case U_GCB_LVT:
    case U_GCB_T:
      return right == U_GCB_T;
    default:
      return false;
  }
}

// What of a cluster decides whether the next character belongs to it.
class Cluster {
 public:
  explicit Cluster(char32_t first) { add(first, break_class(first)); }

  // Adds the next character if it belongs to the cluster.
  bool take(char32_t next) {
    const UGraphemeClusterBreak kind = break_class(next);
    if (!has(next, kind)) return false;
    add(next, kind);
    return true;
  }

 private:
  bool has(char32_t next, UGraphemeClusterBreak kind) const {
    if (last_ == U_GCB_CR && kind == U_GCB_LF) return true;         // GB3
    if (is_control(last_) || is_control(kind)) return false;        // GB4, GB5
    if (is_one_syllable(last_, kind)) return true;                  // GB6, GB7, GB8
    if (kind == U_GCB_EXTEND || kind == U_GCB_ZWJ) return true;     // GB9
    if (kind == U_GCB_SPACING_MARK) return true;                    // GB9a
    if (last_ == U_GCB_PREPEND) return true;                        // GB9b
    if (is_conjunct_ && is_joined_consonant(next)) return true;     // GB9c
    if (is_joined_pictograph_ && is_pictograph(next)) return true;  // GB11
    // GB12, GB13
    return last_ == U_GCB_REGIONAL_INDICATOR && kind == U_GCB_REGIONAL_INDICATOR &&
           num_regional_indicators_ % 2 == 1;
  }

  void add(char32_t character, UGraphemeClusterBreak kind) {
    is_joined_pictograph_ = kind == U_GCB_ZWJ && is_after_pictograph_;
    is_after_pictograph_ =
        is_pictograph(character) || (is_after_pictograph_ && kind == U_GCB_EXTEND);
    const bool extends = kind == U_GCB_EXTEND || kind == U_GCB_ZWJ;
    is_after_consonant_ = is_joined_consonant(character) || (is_after_consonant_ && extends);
    is_conjunct_ = is_after_consonant_ && (is_virama(character) || (is_conjunct_ && extends));
    num_regional_indicators_ += kind == U_GCB_REGIONAL_INDICATOR ? 1 : 0;
    last_ = kind;
  }

  UGraphemeClusterBreak last_ = U_GCB_OTHER;
  bool is_after_pictograph_ = false;   // and its extensions
  bool is_joined_pictograph_ = false;  // the same, and a joiner
  bool is_after_consonant_ = false;    // and its extensions
  bool is_conjunct_ = false;           // a virama among these
  int num_regional_indicators_ = 0;
};

}  // namespace

std::size_t end_of_grapheme(std::string_view text, std::size_t begin) {
  // Of ASCII only CR and LF are ever joined, and most text is ASCII.
  const bool is_alone = is_ascii(text[begin]) && text[begin] != '\r' &&
                        (begin + 1 == text.size() || is_ascii(text[begin + 1]));
  if (is_alone) return begin + 1;

  Cluster cluster(next_code_point(text, begin));
  std::size_t end = begin;
  for (std::size_t next = end; next < text.size(); end = next) {
    if (!cluster.take(next_code_point(text, next))) break;
  }
  return end;
}

}  // namespace limn
