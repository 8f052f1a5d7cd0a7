// `limn bench`: how fast this machine is at sweeps.
#pragma once

#include "launch/bench_options.h"
#include "sharding/communicator.h"
#include "sharding/mpi_session.h"
#include "storage/error.h"

namespace limn {

// Measures on all ranks of the session and prints, on rank 0, what was found. Collective over
// `world`, all ranks. Throws AgreedError for UsageError, JobError, DataError and IoError of the
// set-up.
ExitCode bench_on_all_ranks(MpiSession& session, Communicator& world, const BenchOptions& options);

}  // namespace limn
