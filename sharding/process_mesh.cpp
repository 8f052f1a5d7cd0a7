#include "sharding/process_mesh.h"

#include "sharding/local_communicator.h"
#include "sharding/mpi_communicator.h"

namespace limn {

namespace {

std::unique_ptr<Communicator> tensor_communicator(int group, int tensor_parallel) {
  // Collective over the world, so made even where a group has one rank.
  MpiComm comm = MpiComm::split_world(group);
  if (tensor_parallel == 1) return std::make_unique<LocalCommunicator>();
  return std::make_unique<MpiCommunicator>(std::move(comm));
}

}  // namespace

std::unique_ptr<Communicator> world_communicator() {
  return std::make_unique<MpiCommunicator>(MpiComm::duplicate_world());
}

ProcessMesh ProcessMesh::create(int world_rank, int world_size, int tensor_parallel) {
  if (world_size % tensor_parallel != 0) {
    throw JobError(fmt::format(
        "parallel.tensor_parallel must divide the number of ranks; start a multiple of {} ranks, "
        "for example mpirun -n {}: {} ranks",
        tensor_parallel,
        (world_size / tensor_parallel + 1) * tensor_parallel,
        world_size));
  }
  return ProcessMesh(world_rank, world_size, tensor_parallel);
}

ProcessMesh::ProcessMesh(int world_rank, int world_size, int tensor_parallel)
    : world_rank_(world_rank),
      world_size_(world_size),
      tensor_parallel_(tensor_parallel),
      tensor_ranks_(tensor_communicator(world_rank / tensor_parallel, tensor_parallel)),
      mailbox_(Mailbox::open()) {}

}  // namespace limn
