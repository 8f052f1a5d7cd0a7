#include "launch/stop_signal.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <thread>

namespace limn {

namespace {

// Outlives the thread that takes the signals, which nobody joins.
std::atomic<StopRequest> most_urgent_request = StopRequest::None;  // NOLINT(*-global-variables)
std::atomic<int> signal_of_request = 0;                            // NOLINT(*-global-variables)
std::atomic<ExitCode> code_on_second_signal =                      // NOLINT(*-global-variables)
    ExitCode::NoProgress;

// What comes within this time of the first signal is the same request.
constexpr auto kOneRequest = std::chrono::seconds(2);

// Threads: one thread, that which takes the signals.
void raise_request(StopRequest request, int signal) {
  if (request <= most_urgent_request.load()) return;
  // Before the request, which those who have seen it ask for.
  signal_of_request = signal;
  most_urgent_request = request;
}

bool is_ignored(int signal) {
  struct sigaction action = {};
  check(sigaction(signal, nullptr, &action) == 0, "sigaction refused signal {}", signal);
  return action.sa_handler == SIG_IGN;
}

sigset_t stop_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGUSR1);
  sigaddset(&signals, SIGTERM);
  for (const int signal : {SIGINT, SIGHUP}) {
    if (!is_ignored(signal)) sigaddset(&signals, signal);
  }
  return signals;
}

[[noreturn]] void take(const sigset_t& signals) {
  using Clock = std::chrono::steady_clock;
  std::optional<Clock::time_point> asked_to_stop_now;
  while (true) {
    int signal = 0;
    if (sigwait(&signals, &signal) != 0) continue;
    if (signal == SIGUSR1) {
      raise_request(StopRequest::FinishPart, signal);
      continue;
    }
    raise_request(StopRequest::Now, signal);
    if (!asked_to_stop_now) asked_to_stop_now = Clock::now();
    if (Clock::now() - *asked_to_stop_now >= kOneRequest)
      _exit(static_cast<int>(code_on_second_signal.load()));
  }
}

}  // namespace

void catch_stop_signals() {
  const sigset_t signals = stop_signals();
  check(pthread_sigmask(SIG_BLOCK, &signals, nullptr) == 0, "the signals cannot be blocked");
  std::thread([signals] { take(signals); }).detach();
}

void leave_with_on_second_signal(ExitCode code) {
  code_on_second_signal = code;
}

StopRequest requested_stop() {
  return most_urgent_request.load();
}

std::string_view requesting_signal() {
  switch (signal_of_request.load()) {
    case SIGUSR1:
      return "SIGUSR1";
    case SIGTERM:
      return "SIGTERM";
    case SIGINT:
      return "SIGINT";
    case SIGHUP:
      return "SIGHUP";
    default:
      return "no signal";
  }
}

}  // namespace limn
