// A group of ranks that talk through MPI: CPUs.
#pragma once

#include "sharding/communicator.h"
#include "sharding/mpi_handle.h"

namespace limn {

// Waits for late partners without spinning, then calls MPI's tuned blocking collective.
class MpiCommunicator : public Communicator {
 public:
  explicit MpiCommunicator(MpiComm comm);

  int rank() const override { return rank_; }

  int size() const override { return size_; }

  void all_reduce(at::Tensor& values, ReduceOp op) override;
  at::Tensor all_gather(const at::Tensor& values) override;
  void broadcast(at::Tensor& values, int root) override;

  void synchronize() override {}

 private:
  void wait_for_partners() const;

  MpiComm comm_;
  int rank_;
  int size_;
};

}  // namespace limn
