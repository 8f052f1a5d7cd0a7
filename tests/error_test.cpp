#include "storage/error.h"

#include <new>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/messages.h"

namespace limn::test {

namespace {

using testing::EndsWith;
using testing::HasSubstr;

template <typename Exception>
FailureText failure_text_of(const Exception& exception) {
  return failure_text(std::make_exception_ptr(exception));
}

TEST(ErrorTest, EachKindEndsWithItsExitCode) {
  EXPECT_EQ(static_cast<int>(UsageError("").exit_code()), 64);
  EXPECT_EQ(static_cast<int>(DataError("").exit_code()), 65);
  EXPECT_EQ(static_cast<int>(InternalError("").exit_code()), 70);
  EXPECT_EQ(static_cast<int>(IoError("").exit_code()), 74);
  EXPECT_EQ(static_cast<int>(JobError("").exit_code()), 78);
}

TEST(ErrorTest, CheckNamesItsCallersPlaceAndValues) {
  const int line = __LINE__ + 2;
  const std::string message =
      message_of<InternalError>([] { check(false, "{} deltas for {} units", 3, 2); });
  EXPECT_THAT(message, HasSubstr("error_test.cpp:" + std::to_string(line)));
  EXPECT_THAT(message, EndsWith(": 3 deltas for 2 units"));
}

TEST(ErrorTest, CheckIsSilentWhenItHolds) {
  EXPECT_NO_THROW(check(true, "never"));
}

TEST(ErrorTest, FailureTextKeepsLimnsOwnCodeAndMessage) {
  const FailureText text = failure_text_of(JobError("job.toml:7: explain.factor"));
  EXPECT_EQ(text.exit_code, ExitCode::BadJob);
  EXPECT_EQ(text.message, "job.toml:7: explain.factor");
}

TEST(ErrorTest, ForeignExceptionsAreInternalFailures) {
  EXPECT_EQ(failure_text_of(std::runtime_error("no kernel")).exit_code, ExitCode::Internal);
  EXPECT_EQ(failure_text_of(std::runtime_error("no kernel")).message, "no kernel");
  EXPECT_EQ(failure_text_of(std::bad_alloc()).message, "out of memory");
}

}  // namespace

}  // namespace limn::test
