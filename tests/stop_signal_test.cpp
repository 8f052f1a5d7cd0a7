#include "launch/stop_signal.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <initializer_list>

#include <gtest/gtest.h>

namespace limn::test {
namespace {

constexpr int kNothingCaught = 99;

// Runs `body` in a process of its own, because requests are never withdrawn, and returns its exit
// status: what it returned or, negative, the signal that ended it.
template <typename Body>
int status_of_process(const Body& body) {
  const pid_t child = fork();
  if (child == 0) _exit(body());
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

StopRequest request_after(std::initializer_list<int> signals) {
  return static_cast<StopRequest>(status_of_process([&] {
    catch_stop_signals();
    for (const int signal : signals)
      raise(signal);
    return static_cast<int>(requested_stop());
  }));
}

TEST(StopSignalTest, RequestsNothingWithoutASignal) {
  EXPECT_EQ(request_after({}), StopRequest::None);
}

TEST(StopSignalTest, FinishesThePartOnUsr1) {
  EXPECT_EQ(request_after({SIGUSR1}), StopRequest::FinishPart);
}

TEST(StopSignalTest, StopsNowOnTheSignalsThatEndProcesses) {
  EXPECT_EQ(request_after({SIGTERM}), StopRequest::Now);
  EXPECT_EQ(request_after({SIGINT}), StopRequest::Now);
  EXPECT_EQ(request_after({SIGHUP}), StopRequest::Now);
}

TEST(StopSignalTest, MakesOneRequestOfManySignals) {
  EXPECT_EQ(request_after({SIGUSR1, SIGUSR1, SIGUSR1}), StopRequest::FinishPart);
  EXPECT_EQ(request_after({SIGTERM, SIGINT, SIGTERM}), StopRequest::Now);
}

TEST(StopSignalTest, LetsNowOutrankFinishPartInEitherOrder) {
  EXPECT_EQ(request_after({SIGUSR1, SIGTERM}), StopRequest::Now);
  EXPECT_EQ(request_after({SIGTERM, SIGUSR1}), StopRequest::Now);
}

TEST(StopSignalTest, TakesSignalsFromOtherProcesses) {
  const int status = status_of_process([] {
    catch_stop_signals();
    const pid_t parent = getpid();
    const pid_t sender = fork();
    if (sender == 0) _exit(kill(parent, SIGTERM));
    waitpid(sender, nullptr, 0);
    return static_cast<int>(requested_stop());
  });
  EXPECT_EQ(static_cast<StopRequest>(status), StopRequest::Now);
}

TEST(StopSignalTest, LeavesSignalsIgnoredThatNohupIgnores) {
  const int status = status_of_process([] {
    signal(SIGHUP, SIG_IGN);
    catch_stop_signals();
    raise(SIGHUP);
    return requested_stop() == StopRequest::None ? kNothingCaught : 0;
  });
  EXPECT_EQ(status, kNothingCaught);
}

TEST(StopSignalTest, LeavesOtherSignalsDeadly) {
  const int status = status_of_process([] {
    catch_stop_signals();
    raise(SIGUSR2);
    return kNothingCaught;
  });
  EXPECT_EQ(status, -SIGUSR2);
}

TEST(StopSignalTest, DoesNotInterruptSystemCalls) {
  const int status = status_of_process([] {
    catch_stop_signals();
    int ends[2] = {};
    if (pipe(ends) != 0) return 1;
    const pid_t parent = getpid();
    if (fork() == 0) {
      usleep(50'000);
      kill(parent, SIGUSR1);
      usleep(50'000);
      _exit(write(ends[1], "x", 1) == 1 ? 0 : 1);
    }
    char byte = 0;
    const bool was_read = read(ends[0], &byte, 1) == 1;
    return was_read && requested_stop() == StopRequest::FinishPart ? kNothingCaught : 2;
  });
  EXPECT_EQ(status, kNothingCaught);
}

}  // namespace
}  // namespace limn::test
