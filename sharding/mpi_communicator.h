// A group of ranks that talk through MPI: CPUs.
#pragma once

#include "sharding/collective_watch.h"
#include "sharding/communicator.h"
#include "sharding/mpi_handle.h"

namespace limn {

// Waits for late partners without spinning, then calls MPI's tuned blocking collective.
class MpiCommunicator : public Communicator {
 public:
  // Collective.
  explicit MpiCommunicator(MpiComm comm, Patience patience = {});

  int rank() const override { return rank_; }

  int size() const override { return size_; }

  void all_reduce(at::Tensor& values, ReduceOp op) override;
  at::Tensor all_gather(const at::Tensor& values) override;
  void broadcast(at::Tensor& values, int root) override;

  void give_up() override;

  void meet() override;

  void synchronize() override {}

 private:
  // Throws PartnerGaveUp where one of them has not come for this.
  void wait_for_partners();
  // Returns when all have come, for a collective or to give up.
  bool somebody_gives_up(bool i_do);

  MpiComm comm_;
  CollectiveWatch watch_;
  int rank_;
  int size_;
  // Of the collective that is under way, also after an exception.
  int i_give_up_ = 0;
  int somebody_gives_up_ = 0;
};

}  // namespace limn
