#include "sharding/process_mesh.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include <spdlog/spdlog.h>

#include "sharding/local_communicator.h"
#include "sharding/mpi_communicator.h"
#include "sharding/nccl_communicator.h"

namespace limn {

namespace {

// The nodes that the ranks run on, each once, in the order of the ranks. Collective over `ranks`.
std::vector<std::string> nodes_of(const MpiComm& ranks) {
  std::string mine = node_name();
  mine.resize(MPI_MAX_PROCESSOR_NAME);
  std::string all(mine.size() * ranks.size(), '\0');
  check_mpi(
      MPI_Allgather(
          mine.data(),
          MPI_MAX_PROCESSOR_NAME,
          MPI_CHAR,
          all.data(),
          MPI_MAX_PROCESSOR_NAME,
          MPI_CHAR,
          ranks.get()),
      "MPI_Allgather");
  std::vector<std::string> nodes;
  for (std::size_t begin = 0; begin < all.size(); begin += mine.size()) {
    const std::string node = all.c_str() + begin;
    if (std::ranges::find(nodes, node) == nodes.end()) nodes.push_back(node);
  }
  return nodes;
}

// Sums over GPUs of one node go over NVLink or PCIe, over nodes through the network: in each layer
// of the model, with the GPUs waiting. Collective over `ranks`.
void warn_of_spread(const MpiComm& ranks, int group) {
  const std::vector<std::string> nodes = nodes_of(ranks);
  if (ranks.rank() != 0 || nodes.size() == 1) return;
  spdlog::warn(
      "the GPUs of a group are on more than one node, which makes its sums slow; a smaller "
      "parallel.tensor_parallel, or one that divides the ranks of a node, keeps it on one: group "
      "{} on {}",
      group,
      fmt::join(nodes, ", "));
}

std::unique_ptr<Communicator> tensor_communicator(
    int group, int tensor_parallel, at::Device device, Patience patience) {
  // Collective over the world, so made even where a group has one rank.
  MpiComm comm = MpiComm::split_world(group);
  if (tensor_parallel == 1) return std::make_unique<LocalCommunicator>();
  if (device.is_cpu())
    return std::make_unique<MpiCommunicator>(std::move(comm), std::move(patience));
  warn_of_spread(comm, group);
  return std::make_unique<NcclCommunicator>(std::move(comm), device, std::move(patience));
}

}  // namespace

std::unique_ptr<Communicator> world_communicator() {
  return std::make_unique<MpiCommunicator>(MpiComm::duplicate_world());
}

ProcessMesh ProcessMesh::create(
    int world_rank, int world_size, int tensor_parallel, at::Device device, Patience patience) {
  if (world_size % tensor_parallel != 0) {
    throw JobError(fmt::format(
        "parallel.tensor_parallel must divide the number of ranks; start a multiple of {} ranks, "
        "for example mpirun -n {}: {} ranks",
        tensor_parallel,
        (world_size / tensor_parallel + 1) * tensor_parallel,
        world_size));
  }
  if (world_rank == 0 && device.is_cuda() && tensor_parallel > 1) {
    spdlog::info("NCCL {}", nccl_version());
  }
  return ProcessMesh(world_rank, world_size, tensor_parallel, device, std::move(patience));
}

ProcessMesh::ProcessMesh(
    int world_rank, int world_size, int tensor_parallel, at::Device device, Patience patience)
    : world_rank_(world_rank),
      world_size_(world_size),
      tensor_parallel_(tensor_parallel),
      tensor_ranks_(tensor_communicator(
          world_rank / tensor_parallel, tensor_parallel, device, std::move(patience))),
      mailbox_(Mailbox::open()) {}

}  // namespace limn
