#include "launch/progress_line.h"

#include <cstdint>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include "launch/visible_text.h"

namespace limn::test {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

constexpr Progress kMiddle = {
    .samples_done = 1234,
    .samples_total = 10570,
    .batches_done = 60,
    .batches_total = 480,
    .rows_done = 1'230'000,
    .rows_total = 3'690'000,
    .elapsed_s = 100};

Progress at_second(double elapsed_s) {
  Progress progress = kMiddle;
  progress.elapsed_s = elapsed_s;
  return progress;
}

TEST(ProgressSummaryTest, TellsRateAndTimeLeftOfThisStart) {
  EXPECT_EQ(
      progress_summary(kMiddle), "1234/10570 samples, 60/480 batches, 12.3k rows/s, 3 min left");
}

TEST(ProgressSummaryTest, LeavesOutWhatIsNotKnown) {
  Progress resumed = kMiddle;
  resumed.rows_done = 0;
  resumed.elapsed_s = 0;
  EXPECT_EQ(progress_summary(resumed), "1234/10570 samples, 60/480 batches");
}

TEST(ProgressSummaryTest, SaysNoTimeLeftAtTheEnd) {
  const Progress end = {10, 10, 3, 3, 5000, 5000, 10};
  EXPECT_EQ(progress_summary(end), "10/10 samples, 3/3 batches, 500 rows/s");
}

TEST(ProgressSummaryTest, GivesTimesInUnitsThatFitThem) {
  const auto summary_with_seconds_left = [](std::int64_t seconds) {
    return progress_summary({.rows_done = 1, .rows_total = 1 + seconds, .elapsed_s = 1});
  };
  EXPECT_THAT(summary_with_seconds_left(1), EndsWith(", 1 s left"));
  EXPECT_THAT(summary_with_seconds_left(99), EndsWith(", 99 s left"));
  EXPECT_THAT(summary_with_seconds_left(100), EndsWith(", 2 min left"));
  EXPECT_THAT(summary_with_seconds_left(99L * 60), EndsWith(", 99 min left"));
  EXPECT_THAT(summary_with_seconds_left(100L * 60), EndsWith(", 1 h 40 min left"));
  EXPECT_THAT(summary_with_seconds_left(49L * 3600), EndsWith(", 2 d 1 h left"));
}

TEST(ProgressBarTest, FillsWhatIsDone) {
  // An eighth is done: 1.25 of 10 columns, 3.75 of 30.
  EXPECT_EQ(
      progress_bar(kMiddle, 80),
      "\u2595\u2588\u258e        \u258f  12 %  1234/10570 samples, 60/480 batches, 12.3k rows/s, 3 "
      "min left");
  EXPECT_THAT(
      progress_bar(kMiddle, 200),
      StartsWith("\u2595\u2588\u2588\u2588\u258a                          \u258f  12 %"));
}

TEST(ProgressBarTest, NeverTakesMoreThanItsColumns) {
  for (std::int64_t columns = 3; columns < 130; ++columns)
    EXPECT_LE(display_columns(progress_bar(kMiddle, columns)), columns);
}

TEST(ProgressBarTest, ReachesAHundredPercentOnlyAtTheEnd) {
  EXPECT_THAT(
      progress_bar({.batches_done = 9999, .batches_total = 10000}, 60),
      AllOf(HasSubstr(" 99 %"), Not(HasSubstr("100 %"))));
  EXPECT_THAT(
      progress_bar({.batches_done = 5, .batches_total = 5}, 60), HasSubstr("\u2588\u258f 100 %"));
  EXPECT_THAT(progress_bar({}, 60), HasSubstr("  0 %"));
}

TEST(ProgressLineTest, IsDrawnInPlaceFiveTimesASecondOnATerminal) {
  std::ostringstream out;
  ProgressLine line({.is_terminal = true, .columns = 60}, out);
  std::vector<double> drawn_at;
  for (const double second : {0.0, 0.1, 0.19, 0.25, 0.4, 0.46, 100.0}) {
    out.str("");
    line.update(at_second(second));
    if (!out.str().empty()) drawn_at.push_back(second);
    EXPECT_THAT(out.str(), Not(HasSubstr("\n")));
  }
  EXPECT_THAT(drawn_at, ElementsAre(0.0, 0.25, 0.46, 100.0));
  EXPECT_THAT(out.str(), AllOf(StartsWith("\r"), EndsWith("\x1b[K")));

  out.str("");
  line.finish(at_second(100.01));
  EXPECT_THAT(out.str(), AllOf(StartsWith("\r"), EndsWith("\x1b[K\n")));
}

TEST(ProgressLineTest, IsASparseLogElsewhere) {
  std::ostringstream log;
  const auto previous = spdlog::default_logger();
  auto sink = std::make_shared<spdlog::sinks::ostream_sink_mt>(log);
  sink->set_pattern("%v");
  spdlog::set_default_logger(std::make_shared<spdlog::logger>("test", sink));

  std::ostringstream out;
  ProgressLine line({.is_terminal = false}, out);
  std::vector<int> told_at;
  for (int second = 0; second < 200; ++second) {
    log.str("");
    line.update(at_second(second));
    if (!log.str().empty()) told_at.push_back(second);
  }
  line.finish(at_second(200));
  spdlog::set_default_logger(previous);

  EXPECT_THAT(told_at, ElementsAre(10, 70, 130, 190));
  EXPECT_EQ(log.str(), progress_summary(at_second(200)) + "\n");
  EXPECT_THAT(out.str(), IsEmpty());
}

}  // namespace
}  // namespace limn::test
