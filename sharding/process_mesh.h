// The ranks of a run as groups x tensor ranks.
#pragma once

#include <memory>

#include <c10/core/Device.h>

#include "sharding/communicator.h"
#include "sharding/mailbox.h"
#include "sharding/patience.h"

namespace limn {

// All ranks, as a group of their own, which takes tensors on the CPU. Collective over all ranks.
std::unique_ptr<Communicator> world_communicator();

// Rank r of the world belongs to group r / tensor_parallel and is tensor rank r mod
// tensor_parallel. A group holds one copy of the model; its tensor rank 0 is its leader.
class ProcessMesh {
 public:
  // Groups that compute on `device`, this rank's own (see choose_device); all ranks have one of the
  // same kind. Collective over all ranks. Throws JobError, on every rank, when tensor_parallel does
  // not divide the number of ranks, and InternalError when GPUs cannot be connected. Warns of
  // groups of GPUs that are spread over nodes. `patience` is that with partners of a group.
  static ProcessMesh create(
      int world_rank,
      int world_size,
      int tensor_parallel,
      at::Device device = at::kCPU,
      Patience patience = {});

  int world_rank() const { return world_rank_; }

  int num_groups() const { return world_size_ / tensor_parallel_; }

  int group() const { return world_rank_ / tensor_parallel_; }

  int tensor_parallel() const { return tensor_parallel_; }

  int tensor_rank() const { return world_rank_ % tensor_parallel_; }

  bool is_leader() const { return tensor_rank() == 0; }

  // The world rank of a group's leader.
  int leader_of(int group) const { return group * tensor_parallel_; }

  // The ranks of this rank's group.
  Communicator& tensor_ranks() const { return *tensor_ranks_; }

  const Mailbox& mailbox() const { return mailbox_; }

 private:
  ProcessMesh(
      int world_rank, int world_size, int tensor_parallel, at::Device device, Patience patience);

  int world_rank_;
  int world_size_;
  int tensor_parallel_;
  std::unique_ptr<Communicator> tensor_ranks_;
  Mailbox mailbox_;
};

}  // namespace limn
