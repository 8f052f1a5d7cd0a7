#include "launch/stop_signal.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <initializer_list>
#include <thread>
#include <vector>

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

// Waits until the request is known, or ten seconds.
StopRequest awaited(StopRequest request) {
  for (int i = 0; i < 10'000 && requested_stop() < request; ++i)
    usleep(1000);
  return requested_stop();
}

// What is requested once all signals are taken: `request`, or something else after ten seconds.
StopRequest request_after(std::initializer_list<int> signals, StopRequest request) {
  return static_cast<StopRequest>(status_of_process([&] {
    catch_stop_signals();
    for (const int signal : signals)
      kill(getpid(), signal);
    return static_cast<int>(awaited(request));
  }));
}

TEST(StopSignalTest, RequestsNothingWithoutASignal) {
  EXPECT_EQ(request_after({}, StopRequest::None), StopRequest::None);
}

TEST(StopSignalTest, FinishesThePartOnUsr1) {
  EXPECT_EQ(request_after({SIGUSR1}, StopRequest::FinishPart), StopRequest::FinishPart);
}

TEST(StopSignalTest, StopsNowOnTheSignalsThatEndProcesses) {
  EXPECT_EQ(request_after({SIGTERM}, StopRequest::Now), StopRequest::Now);
  EXPECT_EQ(request_after({SIGINT}, StopRequest::Now), StopRequest::Now);
  EXPECT_EQ(request_after({SIGHUP}, StopRequest::Now), StopRequest::Now);
}

TEST(StopSignalTest, MakesOneRequestOfManySignals) {
  EXPECT_EQ(
      request_after({SIGUSR1, SIGUSR1, SIGUSR1}, StopRequest::FinishPart), StopRequest::FinishPart);
  EXPECT_EQ(request_after({SIGTERM, SIGINT, SIGTERM}, StopRequest::Now), StopRequest::Now);
}

// What the process ends with when these signals follow each other, with this time in between.
int status_after(std::initializer_list<int> signals, std::chrono::milliseconds pause) {
  return status_of_process([&] {
    catch_stop_signals();
    leave_with_on_second_signal(ExitCode::Stopped);
    for (const int signal : signals) {
      kill(getpid(), signal);
      std::this_thread::sleep_for(pause);
    }
    return kNothingCaught;
  });
}

TEST(StopSignalTest, LeavesAtOnceOnASecondSignal) {
  using std::chrono::milliseconds;
  constexpr int kStopped = static_cast<int>(ExitCode::Stopped);
  EXPECT_EQ(status_after({SIGTERM, SIGINT}, milliseconds(2100)), kStopped);
  // As Slurm and mpirun send them.
  EXPECT_EQ(status_after({SIGTERM, SIGTERM, SIGTERM}, milliseconds(300)), kNothingCaught);
  EXPECT_EQ(status_after({SIGUSR1, SIGUSR1, SIGTERM}, milliseconds(1100)), kNothingCaught);
}

TEST(StopSignalTest, LetsNowOutrankFinishPartInEitherOrder) {
  EXPECT_EQ(request_after({SIGUSR1, SIGTERM}, StopRequest::Now), StopRequest::Now);
  EXPECT_EQ(request_after({SIGTERM, SIGUSR1}, StopRequest::Now), StopRequest::Now);
}

TEST(StopSignalTest, TakesSignalsFromOtherProcesses) {
  const int status = status_of_process([] {
    catch_stop_signals();
    const pid_t parent = getpid();
    const pid_t sender = fork();
    if (sender == 0) _exit(kill(parent, SIGTERM));
    waitpid(sender, nullptr, 0);
    return static_cast<int>(awaited(StopRequest::Now));
  });
  EXPECT_EQ(static_cast<StopRequest>(status), StopRequest::Now);
}

TEST(StopSignalTest, LeavesSignalsIgnoredThatNohupIgnores) {
  const int status = status_of_process([] {
    signal(SIGHUP, SIG_IGN);
    catch_stop_signals();
    kill(getpid(), SIGHUP);
    // Signals are taken in the order of their numbers: SIGUSR1 is the later one.
    kill(getpid(), SIGUSR1);
    return awaited(StopRequest::FinishPart) == StopRequest::FinishPart ? kNothingCaught : 0;
  });
  EXPECT_EQ(status, kNothingCaught);
}

#ifdef __x86_64__
// Does what generated matrix kernels do: waits, with the stack pointer in the middle of `memory`,
// until `is_done`.
void wait_with_stack_in(std::vector<char>& memory, const std::atomic<int>& is_done) {
  char* const middle = memory.data() + memory.size() / 2;
  asm volatile(
      "mov %%rsp, %%r12\n"
      "mov %0, %%rsp\n"
      "1: pause\n"
      "cmpl $0, (%1)\n"
      "je 1b\n"
      "mov %%r12, %%rsp\n"
      :
      : "r"(middle), "r"(&is_done)
      : "r12", "cc", "memory");
}

TEST(StopSignalTest, WritesNothingWhereAComputingThreadHasItsStackPointer) {
  const int status = status_of_process([] {
    catch_stop_signals();
    std::vector<char> memory(1 << 16, 'x');
    std::atomic<int> is_done = 0;
    std::thread sender([&] {
      kill(getpid(), SIGTERM);
      kill(getpid(), SIGUSR1);
      awaited(StopRequest::Now);
      is_done = 1;
    });
    wait_with_stack_in(memory, is_done);
    sender.join();
    const bool is_untouched = std::ranges::all_of(memory, [](char byte) { return byte == 'x'; });
    return is_untouched && requested_stop() == StopRequest::Now ? kNothingCaught : 0;
  });
  EXPECT_EQ(status, kNothingCaught);
}
#endif

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
    return was_read && awaited(StopRequest::FinishPart) == StopRequest::FinishPart ? kNothingCaught
                                                                                   : 2;
  });
  EXPECT_EQ(status, kNothingCaught);
}

}  // namespace
}  // namespace limn::test
