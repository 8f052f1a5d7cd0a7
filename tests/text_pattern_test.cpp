#include "coordinator/text_pattern.h"

#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/error.h"

namespace limn::test {

namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

// The parts of `text`, matches in angle brackets.
std::vector<std::string> parts(const TextPattern& pattern, const std::string& text) {
  TextPattern::Matcher matcher(pattern);
  std::vector<std::string> result;
  for (const PatternRange& range : matcher.find_all(text)) {
    const std::string part = text.substr(
        static_cast<std::size_t>(range.range.begin),
        static_cast<std::size_t>(range.range.end - range.range.begin));
    result.push_back(range.is_match ? "<" + part + ">" : part);
  }
  return result;
}

}  // namespace

TEST(TextPatternTest, CoversTheTextWithMatchesAndWhatLiesBetween) {
  const TextPattern pattern = TextPattern::regex("\\p{L}+");
  EXPECT_THAT(
      parts(pattern, "1na\xC3\xAFve, no"), ElementsAre("1", "<na\xC3\xAFve>", ", ", "<no>"));
  EXPECT_THAT(parts(pattern, "123"), ElementsAre("123"));
  EXPECT_THAT(parts(pattern, ""), ElementsAre());
}

TEST(TextPatternTest, MatchesALiteralAsItIsSpelled) {
  const TextPattern pattern = TextPattern::literal("a.*");
  EXPECT_THAT(parts(pattern, "abca.*"), ElementsAre("abc", "<a.*>"));
}

TEST(TextPatternTest, TakesFractionsForWordsOutsideBracketsOnly) {
  EXPECT_THAT(parts(TextPattern::regex("\\w"), "\xC2\xBD"), ElementsAre("<\xC2\xBD>"));
  EXPECT_THAT(parts(TextPattern::regex("[\\w]"), "\xC2\xBD"), ElementsAre("\xC2\xBD"));
  EXPECT_THAT(parts(TextPattern::regex("[^\\w\\s]"), "\xC2\xBD"), ElementsAre("<\xC2\xBD>"));
}

TEST(TextPatternTest, JoinsAClassWithinAClass) {
  // BLOOM's words.
  EXPECT_THAT(
      parts(TextPattern::regex(" ?[^(\\s|[.,!?])]+"), "a, (b|c) d]"),
      ElementsAre("<a>", ", (", "<b>", "|", "<c>", ")", "< d]>"));
}

TEST(TextPatternTest, PassesOverAnEmptyMatchBehindAnotherMatch) {
  const TextPattern pattern = TextPattern::regex("x*");
  EXPECT_TRUE(pattern.matches_empty());
  EXPECT_THAT(parts(pattern, "axxb"), ElementsAre("<>", "a", "<xx>", "b", "<>"));
  EXPECT_FALSE(TextPattern::regex("x+").matches_empty());
}

TEST(TextPatternTest, KnowsCharactersThatPcre2MayNotKnow) {
  // U+313FA of Unicode 15 and U+1E5FA of Unicode 16.
  const std::string text = "\xF0\xB1\x8F\xBA\xF0\x9E\x97\xBA";
  EXPECT_THAT(
      parts(TextPattern::regex("\\p{L}"), text),
      ElementsAre("<\xF0\xB1\x8F\xBA>", "\xF0\x9E\x97\xBA"));
  EXPECT_THAT(
      parts(TextPattern::regex("\\p{Nd}"), text),
      ElementsAre("\xF0\xB1\x8F\xBA", "<\xF0\x9E\x97\xBA>"));
}

TEST(TextPatternTest, RefusesWhatOnigurumaMeansOtherwise) {
  const std::pair<const char*, const char*> refusals[] = {
      {"(?<name>a)", "(?<"},    {"(*FAIL)", "(*"},      {"a(?i)b", "(?i)"},
      {"(?x: a)", "(?x"},       {"[a[^b]]", "[ in []"}, {"[a-[b]]", "[ in []"},
      {"[[a]-z]", "[ in []"},   {"[[a-]z]", "[ in []"}, {"[[:alpha:]]", "[ in []"},
      {"[a-z&&b]", "&& in []"}, {"(a)\\1", "\\1"},      {"\\k<a>", "\\k"},
      {"\\xE9", "\\xE9"},       {"\\x{}", "\\x"},       {"\\p{Klingon}", "Klingon"},
      {"\\pL", "\\p"},          {"[\\W]", "\\W"},       {"[\\b]", "\\b in []"},
      {"a{2}?", "{2}?"},        {"[]a]", "[]"},         {"[a", "too early"},
      {"a\\", "too early"},     {"a)", "not opened"},   {"(a", "compile"},
      {"\\Qa", "\\Q"},          {"\\p{L", "\\p"},       {"*a", "compile"},
  };
  for (const auto& [regex, expected] : refusals) {
    SCOPED_TRACE(regex);
    const auto compile = [text = regex] { TextPattern::regex(text); };
    EXPECT_THAT(compile, ThrowsMessage<DataError>(HasSubstr(expected)));
  }
}

TEST(TextPatternTest, GivesUpOnATextThatIsTooHard) {
  const TextPattern pattern = TextPattern::regex("(x+x+)+[yz]");
  TextPattern::Matcher matcher(pattern);
  EXPECT_THAT(
      [&] { matcher.find_all(std::string(60, 'x')); },
      ThrowsMessage<DataError>(HasSubstr("too hard")));
}

TEST(TextPatternTest, NeedsNoStackForLongMatches) {
  const TextPattern pattern = TextPattern::regex("(?:ab|c)+");
  std::string text;
  while (text.size() < 1'000'000)
    text += "abc";
  EXPECT_EQ(parts(pattern, text).size(), 1U);
}

}  // namespace limn::test
