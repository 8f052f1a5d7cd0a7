#include "coordinator/text_segments.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include <unicode/brkiter.h>
#include <unicode/uchar.h>
#include <unicode/utext.h>

#include "coordinator/code_points.h"
#include "coordinator/white_space.h"
#include "storage/error.h"

namespace limn {

namespace {

void check_icu(UErrorCode status) {
  check(U_SUCCESS(status), "ICU cannot segment text: {}", u_errorName(status));
}

// Where ICU breaks a text.
enum class BreakRule { Words, Sentences, Lines };

std::unique_ptr<icu::BreakIterator> make_break_iterator(BreakRule rule) {
  const icu::Locale& locale = icu::Locale::getRoot();
  UErrorCode status = U_ZERO_ERROR;
  std::unique_ptr<icu::BreakIterator> iterator;
  switch (rule) {
    case BreakRule::Words:
      iterator.reset(icu::BreakIterator::createWordInstance(locale, status));
      break;
    case BreakRule::Sentences:
      iterator.reset(icu::BreakIterator::createSentenceInstance(locale, status));
      break;
    case BreakRule::Lines:
      iterator.reset(icu::BreakIterator::createLineInstance(locale, status));
      break;
  }
  check_icu(status);
  return iterator;
}

// The characters before which ICU breaks `text`, ascending, the last one its end.
std::vector<std::int32_t> breaks_of(std::string_view text, BreakRule rule) {
  const std::unique_ptr<icu::BreakIterator> iterator = make_break_iterator(rule);
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
    character += num_code_points(text.substr(begin, end - begin));
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

// Appends what `range` is without white space, if that is anything.
void append_trimmed(std::u32string_view text, CharRange range, std::vector<CharRange>& ranges) {
  const CharRange rest = trimmed(text, range);
  if (rest.begin < rest.end) ranges.push_back(rest);
}

std::vector<CharRange> words_of(std::string_view text) {
  const std::u32string characters = code_points(text);
  std::vector<CharRange> words;
  std::int32_t begin = 0;
  for (const std::int32_t end : breaks_of(text, BreakRule::Words))
    append_trimmed(characters, {std::exchange(begin, end), end}, words);
  return words;
}

std::vector<CharRange> sentences_of(std::string_view text) {
  const std::u32string characters = code_points(text);
  const std::u32string_view view = characters;
  std::vector<CharRange> sentences;
  std::int32_t begin = 0;
  for (const std::int32_t end : breaks_of(text, BreakRule::Sentences)) {
    const bool is_within =
        end < std::ssize(view) && goes_on(view.substr(begin, end - begin), view[end]);
    if (!is_within) append_trimmed(view, {std::exchange(begin, end), end}, sentences);
  }
  return sentences;
}

// Lines, as they are in the text, without what ends them.
std::vector<CharRange> whole_lines_of(std::u32string_view text) {
  std::vector<CharRange> lines;
  std::int32_t begin = 0;
  const auto size = static_cast<std::int32_t>(text.size());
  for (std::int32_t i = 0; i < size; ++i) {
    if (!ends_line(text[i])) continue;
    lines.push_back({begin, i});
    if (text[i] == U'\r' && i + 1 < size && text[i + 1] == U'\n') ++i;
    begin = i + 1;
  }
  lines.push_back({begin, size});
  return lines;
}

std::vector<CharRange> lines_of(std::string_view text) {
  const std::u32string characters = code_points(text);
  std::vector<CharRange> lines;
  for (const CharRange& line : whole_lines_of(characters))
    append_trimmed(characters, line, lines);
  return lines;
}

std::vector<CharRange> paragraphs_of(std::string_view text) {
  constexpr char32_t kParagraphSeparator = U'\u2029';
  const std::u32string characters = code_points(text);
  std::vector<CharRange> paragraphs;
  std::int32_t begin = 0;
  for (const CharRange& line : whole_lines_of(characters)) {
    const CharRange content = trimmed(characters, line);
    const bool is_last_of_paragraph = content.begin == content.end ||
                                      line.end == std::ssize(characters) ||
                                      characters[line.end] == kParagraphSeparator;
    if (!is_last_of_paragraph) continue;
    append_trimmed(characters, {std::exchange(begin, line.end), line.end}, paragraphs);
  }
  return paragraphs;
}

// Where words begin before which a line could break: neither inside "(so)." nor inside a word of a
// script without spaces.
std::vector<std::int32_t> breakable_words(std::string_view text) {
  const std::vector<std::int32_t> words = breaks_of(text, BreakRule::Words);
  const std::vector<std::int32_t> lines = breaks_of(text, BreakRule::Lines);
  std::vector<std::int32_t> both;
  std::ranges::set_intersection(words, lines, std::back_inserter(both));
  return both;
}

// Where a piece of `share` characters may begin, ascending, the text's first sentence included. A
// sentence that is little longer than that stays whole: else N sentences would not be N pieces.
std::vector<std::int32_t> piece_begins(std::string_view text, double share) {
  const std::vector<std::int32_t> words = breakable_words(text);
  std::vector<std::int32_t> begins;
  for (const CharRange& sentence : sentences_of(text)) {
    begins.push_back(sentence.begin);
    if (sentence.end - sentence.begin <= 1.5 * share) continue;
    const auto first = std::ranges::upper_bound(words, sentence.begin);
    const auto last = std::ranges::lower_bound(words, sentence.end);
    begins.insert(begins.end(), first, last);
  }
  return begins;
}

// Of ascending numbers, the earlier one of two that are as near. Requires: there is one.
std::int32_t nearest_to(double wanted, std::span<const std::int32_t> numbers) {
  const auto after = std::ranges::lower_bound(numbers, wanted);
  if (after == numbers.end()) return numbers.back();
  if (after == numbers.begin()) return *after;
  const std::int32_t before = *std::prev(after);
  return wanted - before <= *after - wanted ? before : *after;
}

}  // namespace

std::vector<CharRange> segment_text(std::string_view text, UnitKind kind) {
  switch (kind) {
    case UnitKind::Word:
      return words_of(text);
    case UnitKind::Sentence:
      return sentences_of(text);
    case UnitKind::Paragraph:
      return paragraphs_of(text);
    case UnitKind::Line:
      return lines_of(text);
    default:
      throw InternalError("a text is not cut into units of this kind");
  }
}

TextPattern parse_delimiter(std::string_view delimiter) {
  if (delimiter.empty()) throw DataError("a delimiter must not be empty");
  const bool is_regex =
      delimiter.size() > 2 && delimiter.starts_with('/') && delimiter.ends_with('/');
  return is_regex ? TextPattern::regex(delimiter.substr(1, delimiter.size() - 2))
                  : TextPattern::literal(delimiter);
}

std::vector<CharRange> split_text(std::string_view text, const TextPattern& delimiter) {
  const std::u32string characters = code_points(text);
  TextPattern::Matcher matcher(delimiter);
  std::vector<CharRange> pieces;
  std::int32_t begin = 0;
  for (const PatternRange& part : matcher.find_all(text)) {
    const std::int32_t end =
        begin + num_code_points(text.substr(part.range.begin, part.range.end - part.range.begin));
    if (!part.is_match) append_trimmed(characters, {begin, end}, pieces);
    begin = end;
  }
  return pieces;
}

std::vector<CharRange> equal_pieces(std::string_view text, std::int64_t num_pieces) {
  const std::u32string characters = code_points(text);
  const CharRange whole = trimmed(characters, {0, static_cast<std::int32_t>(characters.size())});
  const std::int32_t length = whole.end - whole.begin;
  if (length == 0) return {};
  // More pieces than characters there cannot be.
  const auto count = static_cast<std::int32_t>(std::min<std::int64_t>(num_pieces, length));
  const double share = static_cast<double>(length) / count;
  const std::vector<std::int32_t> begins = piece_begins(text, share);

  std::vector<CharRange> pieces;
  std::int32_t begin = whole.begin;
  for (std::int32_t i = 1; i < count; ++i) {
    // An integer over one division, so that every machine rounds alike.
    const double equal = whole.begin + static_cast<double>(std::int64_t{length} * i) / count;
    const std::int32_t cut = nearest_to(equal, begins);
    if (cut > begin) append_trimmed(characters, {std::exchange(begin, cut), cut}, pieces);
  }
  append_trimmed(characters, {begin, whole.end}, pieces);
  return pieces;
}

}  // namespace limn
