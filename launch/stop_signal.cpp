#include "launch/stop_signal.h"

#include <signal.h>

#include <atomic>

#include "storage/error.h"

namespace limn {

namespace {

// The one thing that a signal handler can reach. Lock-free, or a signal could wait for itself.
std::atomic<StopRequest> most_urgent_request = StopRequest::None;  // NOLINT(*-global-variables)
static_assert(std::atomic<StopRequest>::is_always_lock_free);

void raise_request(StopRequest request) {
  StopRequest known = most_urgent_request.load();
  while (known < request && !most_urgent_request.compare_exchange_weak(known, request)) {
  }
}

void request_finish_part(int /*signal*/) {
  raise_request(StopRequest::FinishPart);
}

void request_now(int /*signal*/) {
  raise_request(StopRequest::Now);
}

struct sigaction current_action(int signal) {
  struct sigaction action = {};
  check(sigaction(signal, nullptr, &action) == 0, "sigaction refused signal {}", signal);
  return action;
}

void handle(int signal, void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  // System calls go on: whoever waits asks for requested_stop() by itself.
  action.sa_flags = SA_RESTART;
  check(sigaction(signal, &action, nullptr) == 0, "sigaction refused signal {}", signal);
}

void handle_unless_ignored(int signal, void (*handler)(int)) {
  if (current_action(signal).sa_handler != SIG_IGN) handle(signal, handler);
}

}  // namespace

void catch_stop_signals() {
  handle(SIGUSR1, request_finish_part);
  handle(SIGTERM, request_now);
  handle_unless_ignored(SIGINT, request_now);
  handle_unless_ignored(SIGHUP, request_now);
}

StopRequest requested_stop() {
  return most_urgent_request.load();
}

}  // namespace limn
