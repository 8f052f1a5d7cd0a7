#include "storage/nearest_name.h"

#include <array>

#include <gmock/gmock.h>

namespace limn::test {
namespace {

using testing::Eq;
using testing::Optional;

constexpr std::array<std::string_view, 8> kNames = {
    "id", "prompt", "input_ids", "target", "target_ids", "units", "unit_tokens", "evidence"};

TEST(NearestNameTest, FindsTheNameBehindOneSlip) {
  EXPECT_THAT(nearest_name("promt", kNames), Optional(Eq("prompt")));
  EXPECT_THAT(nearest_name("prrompt", kNames), Optional(Eq("prompt")));
  EXPECT_THAT(nearest_name("prompd", kNames), Optional(Eq("prompt")));
  EXPECT_THAT(nearest_name("unit", kNames), Optional(Eq("units")));
}

TEST(NearestNameTest, CountsSwappedNeighboursAsOneSlip) {
  EXPECT_THAT(nearest_name("nuits", kNames), Optional(Eq("units")));
  // Two slips in five letters would be too many.
  EXPECT_THAT(nearest_name("nuitz", kNames), Eq(std::nullopt));
}

TEST(NearestNameTest, DoesNotMindCaseAndHyphens) {
  EXPECT_THAT(nearest_name("Input-IDs", kNames), Optional(Eq("input_ids")));
  EXPECT_THAT(nearest_name("TARGET", kNames), Optional(Eq("target")));
}

TEST(NearestNameTest, TakesTheNearestAndTheFirstOfEquals) {
  EXPECT_THAT(nearest_name("target_id", kNames), Optional(Eq("target_ids")));
  constexpr std::array<std::string_view, 2> equals = {"factor", "vector"};
  EXPECT_THAT(nearest_name("xactor", equals), Optional(Eq("factor")));
  constexpr std::array<std::string_view, 2> turned = {"vactor", "factor"};
  EXPECT_THAT(nearest_name("xactor", turned), Optional(Eq("vactor")));
}

TEST(NearestNameTest, OffersNothingThatIsFarAway) {
  EXPECT_THAT(nearest_name("question", kNames), Eq(std::nullopt));
  EXPECT_THAT(nearest_name("ix", kNames), Eq(std::nullopt));
  EXPECT_THAT(nearest_name("", kNames), Eq(std::nullopt));
  EXPECT_THAT(nearest_name("prompt", {}), Eq(std::nullopt));
}

}  // namespace
}  // namespace limn::test
