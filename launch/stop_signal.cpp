#include "launch/stop_signal.h"

#include <signal.h>

#include <atomic>
#include <thread>

#include "storage/error.h"

namespace limn {

namespace {

// Outlives the thread that takes the signals, which nobody joins.
std::atomic<StopRequest> most_urgent_request = StopRequest::None;  // NOLINT(*-global-variables)

void raise_request(StopRequest request) {
  StopRequest known = most_urgent_request.load();
  while (known < request && !most_urgent_request.compare_exchange_weak(known, request)) {
  }
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
  while (true) {
    int signal = 0;
    if (sigwait(&signals, &signal) != 0) continue;
    raise_request(signal == SIGUSR1 ? StopRequest::FinishPart : StopRequest::Now);
  }
}

}  // namespace

void catch_stop_signals() {
  const sigset_t signals = stop_signals();
  check(pthread_sigmask(SIG_BLOCK, &signals, nullptr) == 0, "the signals cannot be blocked");
  std::thread([signals] { take(signals); }).detach();
}

StopRequest requested_stop() {
  return most_urgent_request.load();
}

}  // namespace limn
