#include "coordinator/units.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "coordinator/code_points.h"

namespace limn::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// The characters of a range, by code points that are counted apart from units.cpp.
std::string slice(std::string_view text, CharRange range) {
  const auto offsets = code_point_offsets(text);
  return std::string(
      text.substr(offsets.at(range.begin), offsets.at(range.end) - offsets.at(range.begin)));
}

std::vector<std::string> pieces(std::string_view text, UnitKind kind) {
  std::vector<std::string> result;
  for (const CharRange& range : segment_text(text, kind))
    result.push_back(slice(text, range));
  return result;
}

std::vector<std::string> sentences(std::string_view text) {
  return pieces(text, UnitKind::Sentence);
}

std::vector<std::string> words(std::string_view text) {
  return pieces(text, UnitKind::Word);
}

// Tokens with these characters; their ids are their positions.
std::vector<TokenRecord> tokens_at(std::initializer_list<CharRange> ranges) {
  std::vector<TokenRecord> tokens;
  for (const CharRange& range : ranges) {
    tokens.push_back({static_cast<std::int32_t>(tokens.size()), range});
  }
  return tokens;
}

std::vector<std::vector<std::int32_t>> token_lists(const std::vector<UnitRecord>& units) {
  std::vector<std::vector<std::int32_t>> lists;
  for (const UnitRecord& unit : units)
    lists.push_back(unit.tokens);
  return lists;
}

TEST(UnitsTest, CutsSentencesAndTrimsThem) {
  EXPECT_THAT(
      sentences("  The Panthers won.  Did they? Yes! "),
      ElementsAre("The Panthers won.", "Did they?", "Yes!"));
  EXPECT_THAT(sentences("no full stop"), ElementsAre("no full stop"));
  EXPECT_THAT(sentences(""), IsEmpty());
  EXPECT_THAT(sentences(" \n\t "), IsEmpty());
}

TEST(UnitsTest, CountsCharactersNotBytes) {
  EXPECT_THAT(
      segment_text("\U0001F600 \u00E9t\u00E9. \u4ED6\u6765\u4E86\u3002 End", UnitKind::Sentence),
      ElementsAre(CharRange{0, 6}, CharRange{7, 11}, CharRange{12, 15}));
}

TEST(UnitsTest, EndsASentenceWithItsLine) {
  EXPECT_THAT(
      sentences("A Title\n\nline one\nline two. More\r\nlast"),
      ElementsAre("A Title", "line one", "line two.", "More", "last"));
  EXPECT_THAT(
      sentences("Context: It rained.\nQuestion: Did it rain?\nAnswer:"),
      ElementsAre("Context: It rained.", "Question: Did it rain?", "Answer:"));
  EXPECT_THAT(sentences("signed, Dr.\nSmith"), ElementsAre("signed, Dr.", "Smith"));
}

TEST(UnitsTest, KeepsSentencesTogetherAfterAbbreviations) {
  EXPECT_THAT(
      sentences("Mr. Smith met Dr. M\u00FCller (Prof. Li) in St. Louis. They talked."),
      ElementsAre("Mr. Smith met Dr. M\u00FCller (Prof. Li) in St. Louis.", "They talked."));
  EXPECT_THAT(
      sentences("In Brown v. Board the U.S. Supreme Court ruled, e.g. Section 3. It did."),
      ElementsAre("In Brown v. Board the U.S. Supreme Court ruled, e.g. Section 3.", "It did."));
  EXPECT_THAT(
      sentences("Franklin D. Roosevelt and J. R. R. Tolkien. Both wrote."),
      ElementsAre("Franklin D. Roosevelt and J. R. R. Tolkien.", "Both wrote."));
}

TEST(UnitsTest, TakesSomeAbbreviationsOnlyBeforeNumbers) {
  EXPECT_THAT(
      sentences("See Vol. 1, No. 5 and Fig. 3 (c. 1455). No. It is not Fig. Sure."),
      ElementsAre("See Vol. 1, No. 5 and Fig. 3 (c. 1455).", "No.", "It is not Fig.", "Sure."));
}

TEST(UnitsTest, EndsSentencesThatOnlyLookAbbreviated) {
  EXPECT_THAT(
      sentences("She is older than I. He is not. Done by UPT. In 1950 it ended."),
      ElementsAre("She is older than I.", "He is not.", "Done by UPT.", "In 1950 it ended."));
  EXPECT_THAT(sentences("At 30 \u00B0C. Then more."), ElementsAre("At 30 \u00B0C.", "Then more."));
  EXPECT_THAT(
      sentences("It was in 1904. In 1943 too."), ElementsAre("It was in 1904.", "In 1943 too."));
}

TEST(UnitsTest, KeepsQuotesAndBracketsWithTheirSentence) {
  EXPECT_THAT(
      sentences("\u201CIs it?\u201D She left. \"No!\" (Or so.) Well... yes."),
      ElementsAre("\u201CIs it?\u201D", "She left.", "\"No!\"", "(Or so.)", "Well... yes."));
}

TEST(UnitsTest, MakesOneSentenceOfAListItem) {
  EXPECT_THAT(
      sentences("Do this:\n1. Stir it.\n2. Bake it.\n- or buy it\n\u2022 eat"),
      ElementsAre("Do this:", "1. Stir it.", "2. Bake it.", "- or buy it", "\u2022 eat"));
}

TEST(UnitsTest, CutsSentencesOfOtherScripts) {
  EXPECT_THAT(
      sentences("\u4ED6\u6765\u4E86\u3002\u5979\u8D70\u4E86\uFF01\u771F\u7684\u5417\uFF1F"),
      ElementsAre(
          "\u4ED6\u6765\u4E86\u3002", "\u5979\u8D70\u4E86\uFF01", "\u771F\u7684\u5417\uFF1F"));
  // Hindi ends sentences with a danda.
  EXPECT_THAT(
      sentences("\u092F\u0939 \u0939\u0948\u0964 \u0935\u0939 \u0939\u0948\u0964"),
      ElementsAre("\u092F\u0939 \u0939\u0948\u0964", "\u0935\u0939 \u0939\u0948\u0964"));
}

TEST(UnitsTest, CutsWordsAndPunctuation) {
  EXPECT_THAT(
      words("It's the well-known $3.50, \u201Cquoted\u201D:\n\n\tcan't!"),
      ElementsAre(
          "It's",
          "the",
          "well",
          "-",
          "known",
          "$",
          "3.50",
          ",",
          "\u201C",
          "quoted",
          "\u201D",
          ":",
          "can't",
          "!"));
  EXPECT_THAT(words(" \n "), IsEmpty());
}

TEST(UnitsTest, CutsWordsOfScriptsWithoutSpaces) {
  EXPECT_THAT(
      words("\u4ED6\u559C\u6B22\u82F9\u679C\u3002"),
      ElementsAre("\u4ED6", "\u559C\u6B22", "\u82F9\u679C", "\u3002"));
  EXPECT_THAT(
      words("\u0E2A\u0E27\u0E31\u0E2A\u0E14\u0E35\u0E0A\u0E32\u0E27\u0E42\u0E25\u0E01"),
      ElementsAre(
          "\u0E2A\u0E27\u0E31\u0E2A\u0E14\u0E35", "\u0E0A\u0E32\u0E27", "\u0E42\u0E25\u0E01"));
}

TEST(UnitsTest, KeepsWhatLooksLikeOneCharacterTogether) {
  // A family of three joined by ZWJ, and an e with a combining accent.
  EXPECT_THAT(
      words("\U0001F468\u200D\U0001F469\u200D\U0001F467 cafe\u0301"),
      ElementsAre("\U0001F468\u200D\U0001F469\u200D\U0001F467", "cafe\u0301"));
}

TEST(UnitsTest, GivesATokenToTheRangeOfItsFirstCharacter) {
  // "It rained." " He" stayed: the token ". He" starts in the first sentence.
  const std::string_view text = "It rained. He stayed.";
  const auto tokens = tokens_at({{0, 2}, {2, 9}, {9, 13}, {13, 20}, {20, 21}});
  const auto units = units_of_ranges(
      text, segment_text(text, UnitKind::Sentence), tokens, TokenMembership::FirstCharacter);
  EXPECT_THAT(token_lists(units), ElementsAre(ElementsAre(0, 1, 2), ElementsAre(3, 4)));
}

TEST(UnitsTest, PassesOverTheWhiteSpaceInFrontOfAToken) {
  const std::string_view text = "One. Two";
  const auto tokens = tokens_at({{0, 3}, {3, 4}, {4, 8}});
  const std::vector<CharRange> ranges = {{0, 5}, {5, 8}};
  EXPECT_THAT(
      token_lists(units_of_ranges(text, ranges, tokens, TokenMembership::FirstCharacter)),
      ElementsAre(ElementsAre(0, 1), ElementsAre(2)));
  EXPECT_THAT(
      token_lists(units_of_ranges(text, ranges, tokens, TokenMembership::AnyCharacter)),
      ElementsAre(ElementsAre(0, 1), ElementsAre(2)));
}

TEST(UnitsTest, PutsWhiteSpaceTokensToWhatFollowsThem) {
  const std::string_view text = "a\n\n  b";
  const auto tokens = tokens_at({{0, 1}, {1, 3}, {3, 5}, {5, 6}});
  const std::vector<CharRange> ranges = {{0, 3}, {4, 6}};
  EXPECT_THAT(
      token_lists(units_of_ranges(text, ranges, tokens, TokenMembership::FirstCharacter)),
      ElementsAre(ElementsAre(0), ElementsAre(1, 2, 3)));
  EXPECT_THAT(
      token_lists(units_of_ranges(text, ranges, tokens, TokenMembership::AnyCharacter)),
      ElementsAre(ElementsAre(0, 1), ElementsAre(2, 3)));
}

TEST(UnitsTest, GivesATokenToEveryRangeThatItTouches) {
  const std::string_view text = "the hamster eats";
  const auto tokens = tokens_at({{0, 3}, {3, 11}, {11, 16}});
  // "ham", "ster ea", "the", again "ham", and the white space between two words.
  const std::vector<CharRange> ranges = {{4, 7}, {7, 14}, {0, 3}, {4, 7}, {3, 4}};
  EXPECT_THAT(
      token_lists(units_of_ranges(text, ranges, tokens, TokenMembership::AnyCharacter)),
      ElementsAre(ElementsAre(1), ElementsAre(1, 2), ElementsAre(0), ElementsAre(1), IsEmpty()));
}

TEST(UnitsTest, KeepsTheTokensOfOneCharacterTogether) {
  // The byte tokens of an emoji all cover it; a token may end in the middle of it, too.
  const std::string_view text = "a \U0001F600 b";
  const auto tokens = tokens_at({{0, 1}, {1, 3}, {2, 3}, {2, 3}, {3, 5}});
  const auto units = units_of_ranges(
      text, segment_text(text, UnitKind::Word), tokens, TokenMembership::FirstCharacter);
  EXPECT_THAT(
      token_lists(units), ElementsAre(ElementsAre(0), ElementsAre(1, 2, 3), ElementsAre(4)));
}

TEST(UnitsTest, LeavesSpecialTokensOut) {
  const std::vector<TokenRecord> tokens = {{1, {}}, {5, {0, 2}}, {2, {}}, {6, {2, 3}}};
  const std::vector<CharRange> all = {{0, 3}};
  EXPECT_THAT(
      token_lists(units_of_ranges("abc", all, tokens, TokenMembership::AnyCharacter)),
      ElementsAre(ElementsAre(1, 3)));
  EXPECT_THAT(
      units_of_tokens(tokens),
      ElementsAre(
          UnitRecord{.chars = {0, 2}, .box = {}, .tokens = {1}},
          UnitRecord{.chars = {2, 3}, .box = {}, .tokens = {3}}));
}

}  // namespace
}  // namespace limn::test
