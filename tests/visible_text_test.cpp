#include "launch/visible_text.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace limn::test {
namespace {

using testing::AnyOf;
using testing::Each;
using testing::ElementsAre;

std::vector<std::string> lines_of(std::string_view text, std::int64_t columns) {
  const std::vector<VisibleCharacter> characters = visible_characters(text);
  std::vector<std::string> lines;
  for (const Line& line : break_lines(characters, columns))
    lines.push_back(text_of_line(characters, line));
  return lines;
}

TEST(VisibleTextTest, EscapesWhatSteersATerminal) {
  EXPECT_EQ(visible_line("a\n\r\t\x1b[31m\x07\x7f"), "a\\n\\r\\t\\x1b[31m\\x07\\x7f");
  EXPECT_EQ(visible_line("\u0085\u009b"), "\\x85\\x9b");                         // C1 controls
  EXPECT_EQ(visible_line("\u202etxt\u2066\u200f"), "\\u202etxt\\u2066\\u200f");  // direction
  EXPECT_EQ(visible_line("\u2028\u2029"), "\\u2028\\u2029");
  EXPECT_EQ(visible_line(std::string_view("\0", 1)), "\\x00");
}

TEST(VisibleTextTest, LeavesAllElseAsItIs) {
  constexpr std::string_view kText =
      "caf\u00e9 e\u0301 \u65e5\u672c \U0001f469\u200d\U0001f467 \\n";
  EXPECT_EQ(visible_line(kText), kText);
}

TEST(VisibleTextTest, ShowsOneCharacterForEachCodePointAndEachBadByte) {
  EXPECT_EQ(visible_characters("a\u00e9\u65e5\U0001f469").size(), 4U);
  EXPECT_EQ(visible_line("a\xff\xe6\x97z"), "a\uFFFD\uFFFDz");
}

// East Asian Width of UAX #11; what terminals do with it, in the manner of POSIX's wcwidth.
TEST(VisibleTextTest, CountsTheColumnsOfATerminal) {
  EXPECT_EQ(display_columns("abc"), 3);
  EXPECT_EQ(display_columns("\u65e5\u672c"), 4);
  EXPECT_EQ(display_columns("\uff21"), 2);              // fullwidth A
  EXPECT_EQ(display_columns("\uff71"), 1);              // halfwidth katakana
  EXPECT_EQ(display_columns("\ud55c"), 2);              // a Hangul syllable
  EXPECT_EQ(display_columns("\u1112\u1161\u11ab"), 2);  // the same from three letters
  EXPECT_EQ(display_columns("e\u0301"), 1);             // a combining accent
  EXPECT_EQ(display_columns("\u200b"), 0);              // zero width space
  EXPECT_EQ(display_columns("\U0001f600"), 2);          // an emoji
  EXPECT_EQ(display_columns("\n"), 2);                  // as \n
}

TEST(ShortenedLineTest, CutsOnlyWhatDoesNotFit) {
  EXPECT_EQ(shortened_line("abcdef", 6), "abcdef");
  EXPECT_EQ(shortened_line("abcdefg", 6), "abc...");
  EXPECT_EQ(shortened_line("\u65e5\u672c\u8a9e\u3060", 6), "\u65e5...");
  EXPECT_EQ(shortened_line("abcdefg", 3), "...");
  EXPECT_EQ(shortened_line("", 3), "");
}

TEST(BreakLinesTest, BreaksAtSpacesAndLineFeeds) {
  EXPECT_THAT(lines_of("the quick brown fox", 10), ElementsAre("the quick", "brown fox"));
  EXPECT_THAT(lines_of("the quick brown", 9), ElementsAre("the quick", "brown"));
  EXPECT_THAT(lines_of("a\n\n  b", 10), ElementsAre("a", "", "  b"));
  EXPECT_THAT(lines_of("", 10), ElementsAre(""));
}

TEST(BreakLinesTest, BreaksWordsThatAreLongerThanALine) {
  EXPECT_THAT(lines_of("abcdefghij", 4), ElementsAre("abcd", "efgh", "ij"));
  EXPECT_THAT(lines_of("a bcdefghij k", 4), ElementsAre("a", "bcde", "fghi", "j k"));
}

TEST(BreakLinesTest, NeverCutsAWideCharacterOrAnAccent) {
  EXPECT_THAT(lines_of("\u65e5\u672c\u8a9e", 5), ElementsAre("\u65e5\u672c", "\u8a9e"));
  EXPECT_THAT(lines_of("abcde\u0301f", 5), ElementsAre("abcde\u0301", "f"));
}

class BreakLinesAtTest : public testing::TestWithParam<std::int64_t> {};

INSTANTIATE_TEST_SUITE_P(Columns, BreakLinesAtTest, testing::Range<std::int64_t>(2, 60));

TEST_P(BreakLinesAtTest, KeepsWithinTheColumnsAndLosesNothingButBreaks) {
  const std::vector<VisibleCharacter> characters = visible_characters(
      "On n'est pas \u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8 s\u00e9rieux, quand on a "
      "dix-sept ans.\nUn beau soir,   foin des bocks et de la limonade\u2026\n\n  Des caf\u00e9s");
  std::vector<std::string> lost;
  std::int64_t next = 0;
  for (const Line& line : break_lines(characters, GetParam())) {
    EXPECT_LE(display_columns(text_of_line(characters, line)), GetParam());
    ASSERT_LE(next, line.begin);
    for (; next < line.begin; ++next)
      lost.push_back(characters[static_cast<std::size_t>(next)].text);
    next = line.end;
  }
  EXPECT_EQ(next, static_cast<std::int64_t>(characters.size()));
  EXPECT_THAT(lost, Each(AnyOf(" ", "\\n")));
}

}  // namespace
}  // namespace limn::test
