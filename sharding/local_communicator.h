// A group of one rank.
#pragma once

#include "sharding/communicator.h"

namespace limn {

// Reductions over one rank are the identity, so that nobody asks whether there are others.
class LocalCommunicator : public Communicator {
 public:
  int rank() const override { return 0; }

  int size() const override { return 1; }

  void all_reduce(at::Tensor& values, ReduceOp op) override;
  at::Tensor all_gather(const at::Tensor& values) override;
  void broadcast(at::Tensor& values, int root) override;

  void give_up() override {}

  void meet() override {}

  void synchronize() override {}
};

}  // namespace limn
