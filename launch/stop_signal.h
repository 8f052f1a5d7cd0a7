// The signals that ask a run to stop.
#pragma once

#include "coordinator/stop_request.h"

namespace limn {

// From now on SIGUSR1 (StopRequest::FinishPart) and SIGTERM, SIGINT and SIGHUP (StopRequest::Now)
// end nothing by themselves but are remembered for requested_stop(). SIGINT and SIGHUP stay ignored
// if they are, as under nohup. Call it first thing in main(): a signal that comes earlier kills the
// process.
void catch_stop_signals();

// The most urgent request so far. Requests are never withdrawn, and many signals are one request.
// Threads: any thread.
StopRequest requested_stop();

}  // namespace limn
