#include "launch/logging.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include "storage/error.h"

namespace limn::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;

std::filesystem::path log_path(const std::string& name) {
  const std::filesystem::path path =
      std::filesystem::path(testing::TempDir()) / ("limn_logging_test_" + name + ".log");
  std::filesystem::remove(path);
  return path;
}

std::string file_text(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// What reaches the standard error; the process's own logger is restored.
std::string logged(const LogOptions& options, const LogRank& rank) {
  const auto previous = spdlog::default_logger();
  testing::internal::CaptureStderr();
  set_up_logging(options, rank);
  spdlog::debug("some detail");
  spdlog::info("some news");
  spdlog::warn("some doubt");
  spdlog::error("some failure");
  spdlog::set_default_logger(previous);
  return testing::internal::GetCapturedStderr();
}

TEST(LoggingTest, NamesTimeAndLevelOfALoneProcess) {
  EXPECT_THAT(
      logged({}, {}),
      MatchesRegex("\\[20..-..-.. ..:..:..\\....\\] \\[info\\] some news\n"
                   ".*\\] \\[warning\\] some doubt\n.*\\] \\[error\\] some failure\n"));
}

TEST(LoggingTest, NamesTheRankAmongSeveral) {
  EXPECT_THAT(logged({}, {.rank = 0, .num_ranks = 4}), HasSubstr("] [rank 0] [info] some news\n"));
}

TEST(LoggingTest, KeepsOtherRanksQuietUnlessDetailsAreWanted) {
  const LogRank rank = {.rank = 3, .num_ranks = 4};
  EXPECT_THAT(
      logged({}, rank),
      AllOf(Not(HasSubstr("some news")), HasSubstr("[rank 3] [warning] some doubt")));
  EXPECT_THAT(
      logged({.level = LogLevel::Error}, rank),
      AllOf(Not(HasSubstr("some doubt")), HasSubstr("some failure")));
  EXPECT_THAT(
      logged({.level = LogLevel::Debug}, rank),
      AllOf(HasSubstr("some detail"), HasSubstr("some news")));
}

TEST(LoggingTest, AppendsToTheFile) {
  const std::filesystem::path path = log_path("appends");
  const std::string first = logged({.file = path}, {});
  const std::string second = logged({.file = path}, {});
  EXPECT_EQ(file_text(path), first + second);
}

TEST(LoggingTest, RefusesAFileThatCannotBeOpened) {
  const auto previous = spdlog::default_logger();
  EXPECT_THROW(set_up_logging({.file = testing::TempDir()}, {}), IoError);
  EXPECT_EQ(spdlog::default_logger(), previous);
}

}  // namespace
}  // namespace limn::test
