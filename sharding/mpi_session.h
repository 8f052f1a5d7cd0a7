// The life of MPI in this process.
#pragma once

#include "storage/error.h"

namespace limn {

// From MPI_Init to MPI_Finalize. One per process, made by main before anything of sharding.
// Threads: one thread at a time, but for abort(), which any thread may call.
class MpiSession {
 public:
  // Collective over all processes that were started together. Asks for MPI_THREAD_MULTIPLE and for
  // ranks that yield their core while MPI waits. Throws InternalError when threads are not to be
  // had.
  MpiSession(int* argc, char*** argv);

  // Ends MPI if finalize() was not called; a program on an error path calls abort() instead.
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

  int rank() const { return rank_; }

  int size() const { return size_; }

  // Ranks that share this rank's node, itself included.
  int ranks_on_node() const { return ranks_on_node_; }

  // The clean end. Collective: returns when every rank has come here. All communicators are gone
  // before.
  void finalize();

  // Ends every rank at once; the launcher returns `code`. Does not return.
  [[noreturn]] void abort(ExitCode code) const;

 private:
  int rank_ = 0;
  int size_ = 1;
  int ranks_on_node_ = 1;
  bool finalized_ = false;
};

}  // namespace limn
