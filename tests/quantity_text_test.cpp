#include "launch/quantity_text.h"

#include <gtest/gtest.h>

namespace limn::test {

TEST(QuantityTextTest, DurationsHaveTheirTwoLargestUnits) {
  EXPECT_EQ(duration_text(0), "0 s");
  EXPECT_EQ(duration_text(56.2), "57 s");
  EXPECT_EQ(duration_text(12 * 60), "12 min");
  EXPECT_EQ(duration_text(20'400), "5 h 40 min");
  EXPECT_EQ(duration_text(284'400), "3 d 7 h");
}

TEST(QuantityTextTest, RatesHaveThreeDigits) {
  EXPECT_EQ(rate_text(870.4), "870 rows/s");
  EXPECT_EQ(rate_text(12'345), "12.3k rows/s");
  EXPECT_EQ(rate_text(3'200'000), "3.2M rows/s");
}

TEST(QuantityTextTest, BytesArePowersOfAThousand) {
  EXPECT_EQ(bytes_text(0), "0 B");
  EXPECT_EQ(bytes_text(999), "999 B");
  EXPECT_EQ(bytes_text(1000), "1.0 kB");
  EXPECT_EQ(bytes_text(12'345'678), "12.3 MB");
  EXPECT_EQ(bytes_text(345'678'901), "346 MB");
  EXPECT_EQ(bytes_text(999'999'999), "1.0 GB");
  EXPECT_EQ(bytes_text(5'000'000'000'000'000), "5000 TB");
}

}  // namespace limn::test
