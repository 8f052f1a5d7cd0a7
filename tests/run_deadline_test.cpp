#include "launch/run_deadline.h"

#include <cstdlib>
#include <filesystem>
#include <limits>
#include <string>

#include <gtest/gtest.h>

#include "launch/slurm_allocation.h"
#include "tests/temporary_folder.h"

namespace limn::test {

namespace {

using Clock = RunDeadline::Clock;
using WallClock = std::chrono::system_clock;
using std::chrono::seconds;

constexpr double kForEver = std::numeric_limits<double>::infinity();

std::optional<WallClock::time_point> no_job() {
  return std::nullopt;
}

RunDeadline::JobEnd job_that_ends_in(seconds left) {
  return [end = WallClock::now() + left] { return std::optional(end); };
}

// An environment in which squeue prints this, and SLURM_JOB_ID is 12.
class SlurmJobEndTest : public testing::Test {
 protected:
  ~SlurmJobEndTest() override {
    setenv("PATH", path_.c_str(), 1);
    unsetenv("SLURM_JOB_ID");
    unsetenv("SLURM_JOB_END_TIME");
  }

  // The seconds since the epoch; 0: nothing is known.
  std::int64_t end_of(const std::string& script, const char* end_in_environment = nullptr) {
    const std::filesystem::path squeue = folder_ / "squeue";
    write_bytes(squeue, "#!/bin/sh\n" + script);
    std::filesystem::permissions(squeue, std::filesystem::perms::owner_all);
    setenv("PATH", (folder_.path().string() + ":" + path_).c_str(), 1);
    setenv("SLURM_JOB_ID", "12", 1);
    if (end_in_environment != nullptr) setenv("SLURM_JOB_END_TIME", end_in_environment, 1);
    const auto end = slurm_job_end();
    if (!end) return 0;
    return std::chrono::duration_cast<seconds>(end->time_since_epoch()).count();
  }

  TemporaryFolder folder_;
  std::string path_ = std::getenv("PATH");
};

}  // namespace

TEST(RunDeadlineTest, HasTimeForEverWithoutALimit) {
  RunDeadline deadline(std::nullopt, Clock::now(), no_job);
  EXPECT_TRUE(deadline.has_time_for(0));
  EXPECT_TRUE(deadline.has_time_for(kForEver));
}

TEST(RunDeadlineTest, UsesAlmostAllOfItsHours) {
  // 990 of 1,000 seconds from the start, of which 500 are gone.
  RunDeadline deadline(1000.0 / 3600, Clock::now() - seconds(500), no_job);
  EXPECT_TRUE(deadline.has_time_for(485));
  EXPECT_FALSE(deadline.has_time_for(490.5));
  RunDeadline past(1000.0 / 3600, Clock::now() - seconds(995), no_job);
  EXPECT_FALSE(past.has_time_for(0));
}

TEST(RunDeadlineTest, LeavesTimeForTheEndOfASlurmJob) {
  RunDeadline deadline(std::nullopt, Clock::now(), job_that_ends_in(seconds(100)));
  EXPECT_TRUE(deadline.has_time_for(80));
  EXPECT_FALSE(deadline.has_time_for(86));
}

TEST(RunDeadlineTest, TakesTheEarlierEnd) {
  RunDeadline hours_first(0.01, Clock::now(), job_that_ends_in(seconds(1000)));
  EXPECT_FALSE(hours_first.has_time_for(36));
  RunDeadline job_first(10, Clock::now(), job_that_ends_in(seconds(45)));
  EXPECT_FALSE(job_first.has_time_for(36));
}

TEST(RunDeadlineTest, DoesNotAskTheControllerOverAndOver) {
  int num_asked = 0;
  RunDeadline deadline(std::nullopt, Clock::now(), [&] {
    ++num_asked;
    return std::optional(WallClock::now() + seconds(100));
  });
  for (int i = 0; i < 100; ++i)
    EXPECT_FALSE(deadline.has_time_for(1000));
  EXPECT_EQ(num_asked, 1);
}

TEST_F(SlurmJobEndTest, IsWhatSqueueSaysOfThisJob) {
  EXPECT_EQ(end_of("echo 12 1700000000"), 1700000000);
  // For the last job of an array it prints all.
  EXPECT_EQ(end_of("echo 13 5; echo 12 1700000000; echo 14 7"), 1700000000);
  // As moved since.
  EXPECT_EQ(end_of("echo 12 1700000000", "1600000000"), 1700000000);
}

TEST_F(SlurmJobEndTest, GetsTheQuestionThatSlurmUnderstands) {
  EXPECT_EQ(
      end_of("[ \"$*\" = '-h -j 12 -o %A %e' ] && [ \"$SLURM_TIME_FORMAT\" = %s ] && echo 12 77"),
      77);
}

TEST_F(SlurmJobEndTest, IsThatOfTheEnvironmentWhereSqueueFails) {
  EXPECT_EQ(end_of("exit 1", "1600000000"), 1600000000);
  EXPECT_EQ(end_of("echo nonsense", "1600000000"), 1600000000);
}

TEST_F(SlurmJobEndTest, IsNotKnownOtherwise) {
  EXPECT_EQ(end_of("exit 1"), 0);
  EXPECT_EQ(end_of("echo 12 NONE"), 0);
  EXPECT_EQ(end_of("exit 1", "soon"), 0);
  EXPECT_FALSE((unsetenv("SLURM_JOB_ID"), slurm_job_end()).has_value());
}

}  // namespace limn::test
