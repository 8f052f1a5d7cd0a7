// A group of ranks that talk through MPI: CPUs.
#pragma once

#include <limits>

#include "sharding/communicator.h"
#include "sharding/mpi_handle.h"
#include "sharding/roll_call.h"

namespace limn {

// Waits for late partners without spinning, then calls MPI's tuned blocking collective. Throws
// InternalError naming partners that do not come within `timeout_s`: the group is of no use then.
class MpiCommunicator : public Communicator {
 public:
  explicit MpiCommunicator(
      MpiComm comm, double timeout_s = std::numeric_limits<double>::infinity());

  int rank() const override { return rank_; }

  int size() const override { return size_; }

  void all_reduce(at::Tensor& values, ReduceOp op) override;
  at::Tensor all_gather(const at::Tensor& values) override;
  void broadcast(at::Tensor& values, int root) override;

  void give_up() override;

  void meet() override { wait_for_partners(); }

  void synchronize() override {}

 private:
  // Throws PartnerGaveUp where one of them has not come for this.
  void wait_for_partners();
  bool somebody_gives_up(bool i_do);

  MpiComm comm_;
  RollCall roll_call_;  // borrows comm_
  int rank_;
  int size_;
  // Of the collective that is under way, also after an exception.
  int i_give_up_ = 0;
  int somebody_gives_up_ = 0;
};

}  // namespace limn
