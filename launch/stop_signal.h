// The signals that ask a run to stop.
#pragma once

namespace limn {

// In the order of growing urgency.
enum class StopRequest {
  None,
  FinishPart,  // SIGUSR1: finish the current part, then stop
  Now,         // SIGTERM, SIGINT, SIGHUP: keep what is complete and stop
};

// From now on the signals above end nothing by themselves but are remembered for requested_stop().
// SIGINT and SIGHUP stay ignored if they are, as under nohup. Call it first thing in main(): a
// signal that comes earlier kills the process.
void catch_stop_signals();

// The most urgent request so far. Requests are never withdrawn, and many signals are one request.
// Threads: any thread.
StopRequest requested_stop();

}  // namespace limn
