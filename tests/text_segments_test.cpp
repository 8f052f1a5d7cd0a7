#include "coordinator/text_segments.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "coordinator/code_points.h"
#include "storage/error.h"
#include "tests/unit_texts.h"

namespace limn::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::ThrowsMessage;

std::vector<std::string> slices(std::string_view text, const std::vector<CharRange>& ranges) {
  std::vector<std::string> result;
  for (const CharRange& range : ranges)
    result.push_back(slice(text, range));
  return result;
}

std::vector<std::string> sentences(std::string_view text) {
  return slices(text, segment_text(text, UnitKind::Sentence));
}

std::vector<std::string> words(std::string_view text) {
  return slices(text, segment_text(text, UnitKind::Word));
}

std::vector<std::string> lines(std::string_view text) {
  return slices(text, segment_text(text, UnitKind::Line));
}

std::vector<std::string> paragraphs(std::string_view text) {
  return slices(text, segment_text(text, UnitKind::Paragraph));
}

std::vector<std::string> between(std::string_view text, std::string_view delimiter) {
  return slices(text, split_text(text, parse_delimiter(delimiter)));
}

std::vector<std::string> in_pieces(std::string_view text, std::int64_t num_pieces) {
  return slices(text, equal_pieces(text, num_pieces));
}

TEST(TextSegmentsTest, CutsSentencesAndTrimsThem) {
  EXPECT_THAT(
      sentences("  The Panthers won.  Did they? Yes! "),
      ElementsAre("The Panthers won.", "Did they?", "Yes!"));
  EXPECT_THAT(sentences("no full stop"), ElementsAre("no full stop"));
  EXPECT_THAT(sentences(""), IsEmpty());
  EXPECT_THAT(sentences(" \n\t "), IsEmpty());
}

TEST(TextSegmentsTest, CountsCharactersNotBytes) {
  EXPECT_THAT(
      segment_text("\U0001F600 \u00E9t\u00E9. \u4ED6\u6765\u4E86\u3002 End", UnitKind::Sentence),
      ElementsAre(CharRange{0, 6}, CharRange{7, 11}, CharRange{12, 15}));
}

TEST(TextSegmentsTest, EndsASentenceWithItsLine) {
  EXPECT_THAT(
      sentences("A Title\n\nline one\nline two. More\r\nlast"),
      ElementsAre("A Title", "line one", "line two.", "More", "last"));
  EXPECT_THAT(
      sentences("Context: It rained.\nQuestion: Did it rain?\nAnswer:"),
      ElementsAre("Context: It rained.", "Question: Did it rain?", "Answer:"));
  EXPECT_THAT(sentences("signed, Dr.\nSmith"), ElementsAre("signed, Dr.", "Smith"));
}

TEST(TextSegmentsTest, KeepsSentencesTogetherAfterAbbreviations) {
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

TEST(TextSegmentsTest, TakesSomeAbbreviationsOnlyBeforeNumbers) {
  EXPECT_THAT(
      sentences("See Vol. 1, No. 5 and Fig. 3 (c. 1455). No. It is not Fig. Sure."),
      ElementsAre("See Vol. 1, No. 5 and Fig. 3 (c. 1455).", "No.", "It is not Fig.", "Sure."));
}

TEST(TextSegmentsTest, EndsSentencesThatOnlyLookAbbreviated) {
  EXPECT_THAT(
      sentences("She is older than I. He is not. Done by UPT. In 1950 it ended."),
      ElementsAre("She is older than I.", "He is not.", "Done by UPT.", "In 1950 it ended."));
  EXPECT_THAT(sentences("At 30 \u00B0C. Then more."), ElementsAre("At 30 \u00B0C.", "Then more."));
  EXPECT_THAT(
      sentences("It was in 1904. In 1943 too."), ElementsAre("It was in 1904.", "In 1943 too."));
}

TEST(TextSegmentsTest, KeepsQuotesAndBracketsWithTheirSentence) {
  EXPECT_THAT(
      sentences("\u201CIs it?\u201D She left. \"No!\" (Or so.) Well... yes."),
      ElementsAre("\u201CIs it?\u201D", "She left.", "\"No!\"", "(Or so.)", "Well... yes."));
}

TEST(TextSegmentsTest, MakesOneSentenceOfAListItem) {
  EXPECT_THAT(
      sentences("Do this:\n1. Stir it.\n2. Bake it.\n- or buy it\n\u2022 eat"),
      ElementsAre("Do this:", "1. Stir it.", "2. Bake it.", "- or buy it", "\u2022 eat"));
}

TEST(TextSegmentsTest, CutsSentencesOfOtherScripts) {
  EXPECT_THAT(
      sentences("\u4ED6\u6765\u4E86\u3002\u5979\u8D70\u4E86\uFF01\u771F\u7684\u5417\uFF1F"),
      ElementsAre(
          "\u4ED6\u6765\u4E86\u3002", "\u5979\u8D70\u4E86\uFF01", "\u771F\u7684\u5417\uFF1F"));
  // Hindi ends sentences with a danda.
  EXPECT_THAT(
      sentences("\u092F\u0939 \u0939\u0948\u0964 \u0935\u0939 \u0939\u0948\u0964"),
      ElementsAre("\u092F\u0939 \u0939\u0948\u0964", "\u0935\u0939 \u0939\u0948\u0964"));
}

TEST(TextSegmentsTest, CutsWordsAndPunctuation) {
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

TEST(TextSegmentsTest, CutsWordsOfScriptsWithoutSpaces) {
  EXPECT_THAT(
      words("\u4ED6\u559C\u6B22\u82F9\u679C\u3002"),
      ElementsAre("\u4ED6", "\u559C\u6B22", "\u82F9\u679C", "\u3002"));
  EXPECT_THAT(
      words("\u0E2A\u0E27\u0E31\u0E2A\u0E14\u0E35\u0E0A\u0E32\u0E27\u0E42\u0E25\u0E01"),
      ElementsAre(
          "\u0E2A\u0E27\u0E31\u0E2A\u0E14\u0E35", "\u0E0A\u0E32\u0E27", "\u0E42\u0E25\u0E01"));
}

TEST(TextSegmentsTest, KeepsWhatLooksLikeOneCharacterTogether) {
  // A family of three joined by ZWJ, and an e with a combining accent.
  EXPECT_THAT(
      words("\U0001F468\u200D\U0001F469\u200D\U0001F467 cafe\u0301"),
      ElementsAre("\U0001F468\u200D\U0001F469\u200D\U0001F467", "cafe\u0301"));
}

TEST(TextSegmentsTest, CutsWordsOfMixedScripts) {
  EXPECT_THAT(
      words("GPT\u6A21\u578B\u5728\u0E01\u0E23\u0E38\u0E07\u0E40\u0E17\u0E1E 2024\u5E74"),
      ElementsAre(
          "GPT",
          "\u6A21\u578B",
          "\u5728",
          "\u0E01\u0E23\u0E38\u0E07\u0E40\u0E17\u0E1E",
          "2024",
          "\u5E74"));
}

TEST(TextSegmentsTest, ThaiSentencesEndWithTheirLine) {
  // Thai puts a space between sentences and no mark: only a line's end is certain.
  EXPECT_THAT(
      sentences("\u0E01\u0E32 \u0E02\u0E32\n\u0E04\u0E32"),
      ElementsAre("\u0E01\u0E32 \u0E02\u0E32", "\u0E04\u0E32"));
}

TEST(TextSegmentsTest, CutsLines) {
  EXPECT_THAT(
      lines("one\r\n  two words \n\n\t\rthree\u2028four\u0085five\n"),
      ElementsAre("one", "two words", "three", "four", "five"));
  EXPECT_THAT(lines("one"), ElementsAre("one"));
  EXPECT_THAT(lines("\n \n"), IsEmpty());
  EXPECT_THAT(
      segment_text("\u00E9\n\u4ED6\n", UnitKind::Line),
      ElementsAre(CharRange{0, 1}, CharRange{2, 3}));
}

TEST(TextSegmentsTest, CutsParagraphsAtBlankLines) {
  EXPECT_THAT(
      paragraphs("A title\nand more.\n\nSecond.  Third.\r\n \t\r\n\r\nLast\n"),
      ElementsAre("A title\nand more.", "Second.  Third.", "Last"));
  EXPECT_THAT(paragraphs("\n\n one line\n\n"), ElementsAre("one line"));
  EXPECT_THAT(paragraphs("a\nb\u2029c"), ElementsAre("a\nb", "c"));
  EXPECT_THAT(paragraphs("\n\n"), IsEmpty());
  EXPECT_THAT(paragraphs(""), IsEmpty());
}

TEST(TextSegmentsTest, SplitsAtAString) {
  EXPECT_THAT(
      between("Doc one. ### Doc two.### \n###Doc \u4E09", "###"),
      ElementsAre("Doc one.", "Doc two.", "Doc \u4E09"));
  // A point is no wildcard, and one slash no expression.
  EXPECT_THAT(between("a.b", "."), ElementsAre("a", "b"));
  EXPECT_THAT(between("a/b//c", "/"), ElementsAre("a", "b", "c"));
  EXPECT_THAT(between("a/b//c", "//"), ElementsAre("a/b", "c"));
  EXPECT_THAT(
      split_text("\u4ED6|\u5979", parse_delimiter("|")),
      ElementsAre(CharRange{0, 1}, CharRange{2, 3}));
}

TEST(TextSegmentsTest, SplitsAtARegularExpression) {
  EXPECT_THAT(
      between("[1] Ada met Bo. [2] Bo left. [33] End", "/\\[\\d+\\]/"),
      ElementsAre("Ada met Bo.", "Bo left.", "End"));
  // Of one that matches between two characters, nothing is left out.
  EXPECT_THAT(between("Q: a\nA: b\nQ: c", "/^(?=Q:)/"), ElementsAre("Q: a\nA: b", "Q: c"));
  EXPECT_THAT(between("a / b", "/ \\/ /"), ElementsAre("a", "b"));
}

TEST(TextSegmentsTest, LeavesATextWithoutDelimiterWhole) {
  EXPECT_THAT(between(" one, two ", ";"), ElementsAre("one, two"));
  EXPECT_THAT(between("", ";"), IsEmpty());
  EXPECT_THAT(between(";;", ";"), IsEmpty());
}

TEST(TextSegmentsTest, RefusesDelimitersThatAreNone) {
  EXPECT_THAT([] { parse_delimiter(""); }, ThrowsMessage<DataError>(HasSubstr("empty")));
  EXPECT_THAT([] { parse_delimiter("/(a/"); }, ThrowsMessage<DataError>(HasSubstr("compile")));
}

TEST(TextSegmentsTest, MakesPiecesOfWholeSentences) {
  const std::string_view text = "One two three. Four five six. Seven ate nine. Ten eleven.";
  EXPECT_THAT(
      in_pieces(text, 2),
      ElementsAre("One two three. Four five six.", "Seven ate nine. Ten eleven."));
  EXPECT_THAT(
      in_pieces(text, 4),
      ElementsAre("One two three.", "Four five six.", "Seven ate nine.", "Ten eleven."));
  EXPECT_THAT(in_pieces(text, 1), ElementsAre(text));
}

TEST(TextSegmentsTest, CutsSentencesThatAreLongerThanAPieceAtWords) {
  const std::string_view text = "A (very) long sentence, so it's cut, goes on and on.";
  EXPECT_THAT(
      in_pieces(text, 4),
      ElementsAre("A (very) long", "sentence, so", "it's cut,", "goes on and on."));
  // Finer than words nothing is cut; a bracket or a full stop stays where it belongs.
  EXPECT_THAT(
      in_pieces(text, 1'000'000'000'000),
      ElementsAre(
          "A", "(very)", "long", "sentence,", "so", "it's", "cut,", "goes", "on", "and", "on."));
  EXPECT_THAT(in_pieces("  Hello  ", 5), ElementsAre("Hello"));
  EXPECT_THAT(in_pieces(" \n ", 5), IsEmpty());
}

TEST(TextSegmentsTest, CutsOnlyTheSentencesThatAreTooLong) {
  EXPECT_THAT(
      in_pieces("Yes. No. This one is as long as two thirds of it.", 3),
      ElementsAre("Yes. No. This one", "is as long as", "two thirds of it."));
}

TEST(TextSegmentsTest, MakesPiecesOfScriptsWithoutSpaces) {
  // Words of Chinese are not cut, and a comma stays with what is before it.
  EXPECT_THAT(
      in_pieces("\u4ED6\u559C\u6B22\u82F9\u679C\uFF0C\u5979\u559C\u6B22\u6A59\u5B50\u3002", 2),
      ElementsAre("\u4ED6\u559C\u6B22\u82F9\u679C\uFF0C", "\u5979\u559C\u6B22\u6A59\u5B50\u3002"));
  EXPECT_THAT(
      in_pieces("\u0E2A\u0E27\u0E31\u0E2A\u0E14\u0E35\u0E0A\u0E32\u0E27\u0E42\u0E25\u0E01", 9),
      ElementsAre(
          "\u0E2A\u0E27\u0E31\u0E2A\u0E14\u0E35", "\u0E0A\u0E32\u0E27", "\u0E42\u0E25\u0E01"));
}

// What every cut of every text must be.
TEST(TextSegmentsTest, GivesAscendingTrimmedPiecesThatHoldAllButWhiteSpace) {
  const std::string_view text =
      "A title\n\nIt rained (a lot). Mr. Smith, 3.5 m tall: "
      "\u201CWhy?\u201D\r\n\u4ED6\u6765\u4E86\u3002 "
      "\U0001F468\u200D\U0001F469 e\u0301t\u00E9.\n\n\n- item\u2029 end ";
  std::vector<std::vector<CharRange>> cuts;
  for (const UnitKind kind :
       {UnitKind::Word, UnitKind::Sentence, UnitKind::Line, UnitKind::Paragraph})
    cuts.push_back(segment_text(text, kind));
  for (std::int64_t num_pieces = 1; num_pieces < 40; ++num_pieces) {
    cuts.push_back(equal_pieces(text, num_pieces));
    EXPECT_LE(std::ssize(cuts.back()), num_pieces);
  }
  const auto is_space = [](char byte) { return byte == ' ' || byte == '\n' || byte == '\r'; };
  std::string expected(text);
  expected.erase(expected.find("\u2029"), 3);
  std::erase_if(expected, is_space);
  for (const std::vector<CharRange>& ranges : cuts) {
    std::string joined;
    std::int32_t end = 0;
    for (const CharRange& range : ranges) {
      EXPECT_LE(end, range.begin);
      EXPECT_LT(range.begin, range.end);
      end = range.end;
      const std::string piece = slice(text, range);
      EXPECT_FALSE(is_space(piece.front()) || is_space(piece.back()));
      joined += piece;
    }
    if (const auto separator = joined.find("\u2029"); separator != std::string::npos)
      joined.erase(separator, 3);
    std::erase_if(joined, is_space);
    EXPECT_EQ(joined, expected);
  }
}

}  // namespace
}  // namespace limn::test
