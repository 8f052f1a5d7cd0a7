#include "coordinator/white_space.h"

#include <cstdint>
#include <set>

#include <gmock/gmock.h>

namespace limn::test {
namespace {

using testing::Eq;

TEST(WhiteSpaceTest, IsWhatPythonSays) {
  // [c for c in range(0x110000) if chr(c).isspace()] of Python 3.11.
  const std::set<char32_t> python = {0x9,    0xa,    0xb,    0xc,    0xd,    0x1c,   0x1d,   0x1e,
                                     0x1f,   0x20,   0x85,   0xa0,   0x1680, 0x2000, 0x2001, 0x2002,
                                     0x2003, 0x2004, 0x2005, 0x2006, 0x2007, 0x2008, 0x2009, 0x200a,
                                     0x2028, 0x2029, 0x202f, 0x205f, 0x3000};
  for (char32_t character = 0; character < 0x110000; ++character) {
    EXPECT_THAT(is_white_space(character), Eq(python.contains(character)))
        << static_cast<std::uint32_t>(character);
  }
}

TEST(WhiteSpaceTest, TakesAwayWhatStandsAtTheEnd) {
  EXPECT_THAT(without_trailing_white_space(" a b \n\u3000\u00A0"), Eq(" a b"));
  EXPECT_THAT(without_trailing_white_space("\u4ED6"), Eq("\u4ED6"));
  EXPECT_THAT(without_trailing_white_space("a\u200B"), Eq("a\u200B"));
  EXPECT_THAT(without_trailing_white_space(" \t\r\n"), Eq(""));
  EXPECT_THAT(without_trailing_white_space(""), Eq(""));
}

}  // namespace
}  // namespace limn::test
