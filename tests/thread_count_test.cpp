#include "launch/thread_count.h"

#include <sched.h>
#include <stdlib.h>

#include <algorithm>
#include <optional>
#include <string>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/child_process.h"

namespace limn::test {

namespace {

// Without OMP_NUM_THREADS, unless a test sets it; as it was afterwards.
class ThreadCountTest : public testing::Test {
 protected:
  ThreadCountTest() {
    if (const char* const value = ::getenv("OMP_NUM_THREADS")) earlier_ = value;
    ::unsetenv("OMP_NUM_THREADS");
  }

  ~ThreadCountTest() override {
    ::unsetenv("OMP_NUM_THREADS");
    if (earlier_) ask_for(earlier_->c_str());
  }

  static void ask_for(const char* threads) { ::setenv("OMP_NUM_THREADS", threads, 1); }

  static int num_allowed() {
    cpu_set_t set;
    ::sched_getaffinity(0, sizeof set, &set);
    return CPU_COUNT(&set);
  }

  static bool is_bound() {
    return num_allowed() < static_cast<int>(std::thread::hardware_concurrency());
  }

 private:
  std::optional<std::string> earlier_;
};

// The thread count in a child that is bound to its first `num_processors` processors.
int count_when_bound(int num_processors, int ranks_on_node) {
  return exit_code_of(start_child([&] {
    cpu_set_t allowed;
    ::sched_getaffinity(0, sizeof allowed, &allowed);
    cpu_set_t chosen;
    CPU_ZERO(&chosen);
    for (int processor = 0; CPU_COUNT(&chosen) < num_processors; ++processor) {
      if (CPU_ISSET(processor, &allowed)) CPU_SET(processor, &chosen);
    }
    if (::sched_setaffinity(0, sizeof chosen, &chosen) != 0) return 98;
    return choose_thread_count(ranks_on_node);
  }));
}

}  // namespace

TEST_F(ThreadCountTest, IsWhatOmpNumThreadsSays) {
  ask_for("17");
  EXPECT_EQ(choose_thread_count(1), 17);
  EXPECT_EQ(choose_thread_count(1000), 17);
  // OpenMP's list has a number for each level of nesting.
  ask_for("3,2");
  EXPECT_EQ(choose_thread_count(1), 3);
}

TEST_F(ThreadCountTest, PassesOverAnOmpNumThreadsThatIsNoNumber) {
  const int otherwise = choose_thread_count(1);
  for (const char* nonsense : {"", "0", "-4", "many"}) {
    ask_for(nonsense);
    EXPECT_EQ(choose_thread_count(1), otherwise) << nonsense;
  }
}

TEST_F(ThreadCountTest, IsAllProcessorsForASingleRank) {
  EXPECT_EQ(choose_thread_count(1), num_allowed());
}

TEST_F(ThreadCountTest, IsOneWhereRanksOutnumberProcessors) {
  if (is_bound()) GTEST_SKIP() << "this process is bound to some processors";
  EXPECT_EQ(choose_thread_count(num_allowed() + 1), 1);
  EXPECT_EQ(choose_thread_count(100000), 1);
}

TEST_F(ThreadCountTest, DividesTheProcessorsAmongRanksThatShareThem) {
  if (is_bound()) GTEST_SKIP() << "this process is bound to some processors";
  EXPECT_EQ(choose_thread_count(2), std::max(1, num_allowed() / 2));
}

TEST_F(ThreadCountTest, IsWhatTheLauncherBoundTheRankTo) {
  EXPECT_EQ(count_when_bound(1, 1), 1);
  EXPECT_EQ(count_when_bound(1, 4), 1);
}

TEST_F(ThreadCountTest, DoesNotDivideWhatTheLauncherBoundTheRankTo) {
  if (num_allowed() < 3) GTEST_SKIP() << "needs three processors, to be bound to two of them";
  EXPECT_EQ(count_when_bound(2, 2), 2);
}

}  // namespace limn::test
