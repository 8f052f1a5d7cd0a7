// The signals that ask a run to stop.
#pragma once

#include <string_view>

#include "coordinator/stop_request.h"
#include "storage/error.h"

namespace limn {

// From now on SIGUSR1 (StopRequest::FinishPart) and SIGTERM, SIGINT and SIGHUP (StopRequest::Now)
// end nothing by themselves but are remembered for requested_stop(). SIGINT and SIGHUP stay ignored
// if they are, as under nohup.
//
// Slurm and mpirun send one signal up to three times within a second or so, and that is one
// request. Two seconds after the first of SIGTERM, SIGINT and SIGHUP another one means that
// somebody will not wait: the process ends at once, with the code of leave_with_on_second_signal().
//
// They are blocked in the calling thread and in all threads that it starts from now on, and taken
// by a thread of their own, for no handler may run on the thread that computes: generated matrix
// kernels (oneDNN's among them) use the stack pointer as a pointer into the heap, and there the
// kernel would write the frame of a signal over whatever lies below it.
//
// Call it once and first thing in main(): a signal that comes earlier kills the process, and a
// thread that is older could be interrupted.
void catch_stop_signals();

// The most urgent request so far. Requests are never withdrawn, and many signals are one request.
// A signal is seen within moments of its arrival. Threads: any thread.
StopRequest requested_stop();

// "SIGTERM": the signal of that request, or the one before it; "no signal" before the first.
// Threads: any thread.
std::string_view requesting_signal();

// ExitCode::NoProgress until it is called. Threads: any thread.
void leave_with_on_second_signal(ExitCode code);

}  // namespace limn
