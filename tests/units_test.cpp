#include "coordinator/units.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "coordinator/text_segments.h"

namespace limn::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

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
