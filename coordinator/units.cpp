#include "coordinator/units.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include <unicode/brkiter.h>
#include <unicode/uchar.h>
#include <unicode/utext.h>
#include <unicode/utf8.h>

#include "coordinator/white_space.h"
#include "storage/error.h"

namespace limn {

namespace {

void check_icu(UErrorCode status) {
  check(U_SUCCESS(status), "ICU cannot segment text: {}", u_errorName(status));
}

std::u32string characters_of(std::string_view text) {
  std::u32string characters;
  for (std::size_t i = 0; i < text.size();) {
    UChar32 character = 0;
    U8_NEXT_UNSAFE(text.data(), i, character);
    characters.push_back(static_cast<char32_t>(character));
  }
  return characters;
}

std::int32_t num_characters(std::string_view text) {
  return static_cast<std::int32_t>(
      std::ranges::count_if(text, [](char byte) { return !U8_IS_TRAIL(byte); }));
}

CharRange trimmed(std::u32string_view characters, CharRange range) {
  while (range.begin < range.end && is_white_space(characters[range.begin]))
    ++range.begin;
  while (range.begin < range.end && is_white_space(characters[range.end - 1]))
    --range.end;
  return range;
}

std::unique_ptr<icu::BreakIterator> make_break_iterator(UnitKind kind) {
  UErrorCode status = U_ZERO_ERROR;
  std::unique_ptr<icu::BreakIterator> iterator(
      kind == UnitKind::Word
          ? icu::BreakIterator::createWordInstance(icu::Locale::getRoot(), status)
          : icu::BreakIterator::createSentenceInstance(icu::Locale::getRoot(), status));
  check_icu(status);
  return iterator;
}

// The characters before which ICU breaks `text`, ascending, the last one its end.
std::vector<std::int32_t> breaks_of(std::string_view text, UnitKind kind) {
  const std::unique_ptr<icu::BreakIterator> iterator = make_break_iterator(kind);
  UErrorCode status = U_ZERO_ERROR;
  const icu::LocalUTextPointer bytes(
      utext_openUTF8(nullptr, text.data(), static_cast<std::int64_t>(text.size()), &status));
  iterator->setText(bytes.getAlias(), status);
  check_icu(status);

  std::vector<std::int32_t> breaks;
  std::int32_t character = 0;
  std::int32_t begin = iterator->first();
  for (std::int32_t end = iterator->next(); end != icu::BreakIterator::DONE;
       end = iterator->next()) {
    character += num_characters(text.substr(begin, end - begin));
    breaks.push_back(character);
    begin = end;
  }
  return breaks;
}

// Abbreviations that a sentence goes on after. ICU's own list ("en@ss=standard") will not do: of
// the 1,225 sentence ends that the rules find in XQuAD's 240 English paragraphs it takes back 8,
// two of them real ones ("UPT." for ending in "T."), and leaves "Dr.", "St." and most initials.
// What stands here takes back 51, two of them real ones.
constexpr std::array<std::u32string_view, 27> kBeforeNames = {
    U"Mr",  U"Mrs", U"Ms",  U"Mx",  U"Messrs", U"Mme", U"Mlle", U"Dr",  U"Prof",
    U"Rev", U"Hon", U"Gov", U"Sen", U"Rep",    U"Gen", U"Col",  U"Maj", U"Capt",
    U"Lt",  U"Sgt", U"Cpl", U"St",  U"Mt",     U"Ft",  U"vs",   U"v",   U"cf"};
// "No." and "Art." end sentences, too, but not before a number.
constexpr std::array<std::u32string_view, 30> kBeforeNumbers = {
    U"No",  U"Nos", U"Nr",  U"Vol", U"Vols", U"Fig", U"Figs", U"Eq",  U"Ch",  U"Sec",
    U"Art", U"Op",  U"p",   U"pp",  U"c",    U"ca",  U"al",   U"b",   U"d",   U"approx",
    U"Jan", U"Feb", U"Mar", U"Apr", U"Aug",  U"Sep", U"Sept", U"Oct", U"Nov", U"Dec"};

bool is_letter(char32_t character) {
  return u_isalpha(static_cast<UChar32>(character));
}

bool is_digit(char32_t character) {
  return u_isdigit(static_cast<UChar32>(character));
}

bool ends_line(char32_t character) {
  const std::int32_t rule =
      u_getIntPropertyValue(static_cast<UChar32>(character), UCHAR_SENTENCE_BREAK);
  return rule == U_SB_LF || rule == U_SB_CR || rule == U_SB_SEP;
}

bool opens_word(char32_t character) {
  const auto code_point = static_cast<UChar32>(character);
  return u_charType(code_point) == U_START_PUNCTUATION ||
         u_hasBinaryProperty(code_point, UCHAR_QUOTATION_MARK);
}

// Without the brackets and quotation marks in front of it.
std::u32string_view last_word(std::u32string_view sentence) {
  std::size_t begin = sentence.size();
  while (begin > 0 && !is_white_space(sentence[begin - 1]))
    --begin;
  while (begin < sentence.size() && opens_word(sentence[begin]))
    ++begin;
  return sentence.substr(begin);
}

// "D" of "Franklin D."; not "I", which is a pronoun or a Roman number more often.
bool is_initial(std::u32string_view word) {
  return word.size() == 1 && u_isupper(static_cast<UChar32>(word[0])) && word[0] != U'I';
}

// "U.S", "e.g": one letter between dots.
bool is_dotted(std::u32string_view word) {
  if (word.size() < 3 || word.size() % 2 == 0) return false;
  for (std::size_t i = 0; i < word.size(); ++i) {
    if (i % 2 == 0 ? !is_letter(word[i]) : word[i] != U'.') return false;
  }
  return true;
}

// "2" of a list item "2. Stir."
bool is_item_number(std::u32string_view sentence) {
  return !sentence.empty() && sentence.size() <= 3 && std::ranges::all_of(sentence, is_digit);
}

// Whether what ICU takes for a sentence goes on with `next`, the first character behind it.
bool goes_on(std::u32string_view sentence, char32_t next) {
  std::size_t size = sentence.size();
  for (; size > 0 && is_white_space(sentence[size - 1]); --size) {
    if (ends_line(sentence[size - 1])) return false;
  }
  if (size == 0 || sentence[size - 1] != U'.') return false;
  const std::u32string_view before_dot = sentence.substr(0, size - 1);
  const std::u32string_view word = last_word(before_dot);
  if (is_initial(word) || is_dotted(word) || is_item_number(before_dot)) return true;
  return std::ranges::find(kBeforeNames, word) != kBeforeNames.end() ||
         (is_digit(next) && std::ranges::find(kBeforeNumbers, word) != kBeforeNumbers.end());
}

bool covers_characters(const TokenRecord& token) {
  return token.chars.begin < token.chars.end;
}

// A token's position, and the characters that decide to which ranges it belongs.
struct PlacedToken {
  std::int32_t position;
  CharRange place;
};

CharRange place_of(std::u32string_view characters, CharRange token, TokenMembership membership) {
  if (membership == TokenMembership::FirstCharacter) {
    // Behind a token of white space alone: it goes with what follows, as " the" is one token
    // elsewhere.
    auto first = token.begin;
    while (first < std::ssize(characters) && is_white_space(characters[first]))
      ++first;
    if (first == std::ssize(characters)) first = token.begin;
    return {first, first + 1};
  }
  const CharRange place = trimmed(characters, token);
  return place.begin == place.end ? token : place;
}

std::vector<PlacedToken> placed_tokens(
    std::u32string_view characters,
    std::span<const TokenRecord> tokens,
    TokenMembership membership) {
  std::vector<PlacedToken> placed;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (!covers_characters(tokens[i])) continue;
    placed.push_back(
        {static_cast<std::int32_t>(i), place_of(characters, tokens[i].chars, membership)});
  }
  return placed;
}

}  // namespace

std::vector<CharRange> segment_text(std::string_view text, UnitKind kind) {
  check(kind == UnitKind::Word || kind == UnitKind::Sentence, "only words and sentences are cut");
  const std::u32string characters = characters_of(text);
  const std::u32string_view view = characters;
  std::vector<CharRange> ranges;
  std::int32_t begin = 0;
  for (const std::int32_t end : breaks_of(text, kind)) {
    const bool within_sentence = kind == UnitKind::Sentence && end < std::ssize(view) &&
                                 goes_on(view.substr(begin, end - begin), view[end]);
    if (within_sentence) continue;
    const CharRange range = trimmed(view, {begin, end});
    if (range.begin < range.end) ranges.push_back(range);
    begin = end;
  }
  return ranges;
}

std::vector<UnitRecord> units_of_ranges(
    std::string_view text,
    std::span<const CharRange> ranges,
    std::span<const TokenRecord> tokens,
    TokenMembership membership) {
  const std::vector<PlacedToken> placed = placed_tokens(characters_of(text), tokens, membership);
  std::vector<UnitRecord> units;
  units.reserve(ranges.size());
  for (const CharRange& range : ranges) {
    UnitRecord unit{.chars = range, .box = {}, .tokens = {}};
    // Places ascend, so the range's tokens are neighbours.
    auto token = std::ranges::partition_point(
        placed, [&](const PlacedToken& before) { return before.place.end <= range.begin; });
    for (; token != placed.end() && token->place.begin < range.end; ++token) {
      unit.tokens.push_back(token->position);
    }
    units.push_back(std::move(unit));
  }
  return units;
}

std::vector<UnitRecord> units_of_tokens(std::span<const TokenRecord> tokens) {
  std::vector<UnitRecord> units;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (!covers_characters(tokens[i])) continue;
    units.push_back(
        {.chars = tokens[i].chars, .box = {}, .tokens = {static_cast<std::int32_t>(i)}});
  }
  return units;
}

}  // namespace limn
