// `limn run`: explains a dataset on all ranks; and the way of every command of many ranks to its
// end.
#pragma once

#include "sharding/mpi_session.h"
#include "storage/error.h"

namespace limn {

// Runs the command line on every rank that was started together and returns, on every rank, how the
// run ended. What goes wrong is logged on one rank. Collective; does not return when a rank fails
// alone in the middle of the computation, or is told to stop at once: then it ends the job with
// MPI_Abort.
ExitCode run_on_all_ranks(MpiSession& session, int argc, const char* const* argv);

// Logs an error that ends the program, one line for each line of its message.
void log_failure(const FailureText& failure);

}  // namespace limn
