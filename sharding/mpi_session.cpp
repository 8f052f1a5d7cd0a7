#include "sharding/mpi_session.h"

#include <cstdlib>

#include <mpi.h>

#include "sharding/mpi_handle.h"

namespace limn {

MpiSession::MpiSession(int* argc, char*** argv) {
  // mpirun --oversubscribe sets this by itself, srun and mpirun in a job with enough slots never
  // do.
  setenv("OMPI_MCA_mpi_yield_when_idle", "1", /*overwrite=*/0);
  int provided = MPI_THREAD_SINGLE;
  check_mpi(MPI_Init_thread(argc, argv, MPI_THREAD_MULTIPLE, &provided), "MPI_Init_thread");
  check(provided == MPI_THREAD_MULTIPLE, "this MPI was built without MPI_THREAD_MULTIPLE");
  check_mpi(MPI_Comm_rank(MPI_COMM_WORLD, &rank_), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(MPI_COMM_WORLD, &size_), "MPI_Comm_size");
  ranks_on_node_ = MpiComm::split_world_by_node().size();
}

MpiSession::~MpiSession() {
  if (!finalized_) MPI_Finalize();
}

void MpiSession::finalize() {
  finalized_ = true;
  check_mpi(MPI_Finalize(), "MPI_Finalize");
}

void MpiSession::abort(ExitCode code) const {
  MPI_Abort(MPI_COMM_WORLD, static_cast<int>(code));
  throw InternalError("MPI_Abort returned");
}

}  // namespace limn
