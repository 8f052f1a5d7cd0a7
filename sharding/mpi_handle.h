// MPI's handles and return codes, wrapped once. Private to sharding.
#pragma once

#include <utility>

#include <mpi.h>

#include "sharding/node_name.h"
#include "storage/error.h"

namespace limn {

// Throws InternalError with MPI's own words unless `code` is MPI_SUCCESS.
void check_mpi(int code, const char* call);

// Owns: one communicator, freed at the end. Threads: as the communicator inside.
class MpiComm {
 public:
  // Takes over a communicator made by MPI_Comm_dup, MPI_Comm_split, ...; its errors are returned,
  // not fatal.
  explicit MpiComm(MPI_Comm owned) : comm_(owned) {
    MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN);
  }

  ~MpiComm() { reset(); }

  MpiComm(MpiComm&& other) noexcept : comm_(std::exchange(other.comm_, MPI_COMM_NULL)) {}

  MpiComm& operator=(MpiComm&& other) noexcept {
    reset();
    comm_ = std::exchange(other.comm_, MPI_COMM_NULL);
    return *this;
  }

  MpiComm(const MpiComm&) = delete;
  MpiComm& operator=(const MpiComm&) = delete;

  // The same ranks, whose messages never mix with these. Collective.
  MpiComm duplicate() const;

  // Collective over MPI_COMM_WORLD.
  static MpiComm duplicate_world();
  static MpiComm split_world(int color);
  static MpiComm split_world_by_node();

  MPI_Comm get() const { return comm_; }

  int rank() const;
  int size() const;

 private:
  void reset() noexcept {
    if (comm_ == MPI_COMM_NULL) return;
    // After MPI_Finalize the handle is gone already, and freeing it would end the process.
    int finalized = 0;
    MPI_Finalized(&finalized);
    if (finalized == 0) MPI_Comm_free(&comm_);
    comm_ = MPI_COMM_NULL;
  }

  MPI_Comm comm_;
};

}  // namespace limn
