#include "sharding/device_choice.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

#include <fmt/format.h>
#include <mpi.h>
#include <spdlog/spdlog.h>

#include "sharding/mpi_handle.h"
#include "storage/error.h"

namespace limn {

namespace {

// Of one node: the first GPU that each rank sees and none before it has taken. Ranks that see fewer
// GPUs come first, for they have less to choose from; else the order is that of the ranks.
std::vector<std::optional<int>> share_out(const std::vector<std::vector<GpuId>>& seen) {
  std::vector<std::size_t> ranks(seen.size());
  std::iota(ranks.begin(), ranks.end(), std::size_t{0});
  std::ranges::stable_sort(ranks, {}, [&](std::size_t rank) { return seen[rank].size(); });
  std::vector<GpuId> taken;
  std::vector<std::optional<int>> own(seen.size());
  for (const std::size_t rank : ranks) {
    const std::vector<GpuId>& ids = seen[rank];
    const auto free = std::ranges::find_if(
        ids, [&](const GpuId& id) { return std::ranges::find(taken, id) == taken.end(); });
    if (free == ids.end()) continue;
    own[rank] = static_cast<int>(free - ids.begin());
    taken.push_back(*free);
  }
  return own;
}

std::size_t count_different(const std::vector<std::vector<GpuId>>& seen) {
  std::vector<GpuId> different;
  for (const std::vector<GpuId>& ids : seen) {
    for (const GpuId& id : ids) {
      if (std::ranges::find(different, id) == different.end()) different.push_back(id);
    }
  }
  return different.size();
}

// What each rank of the node sees. Collective over `node`.
std::vector<std::vector<GpuId>> gather(const MpiComm& node, const std::vector<GpuId>& mine) {
  constexpr int kIdBytes = sizeof(GpuId);
  const int my_bytes = static_cast<int>(mine.size()) * kIdBytes;
  std::vector<int> bytes(node.size());
  check_mpi(
      MPI_Allgather(&my_bytes, 1, MPI_INT, bytes.data(), 1, MPI_INT, node.get()), "MPI_Allgather");
  std::vector<int> offset{0};
  for (const int count : bytes)
    offset.push_back(offset.back() + count);
  std::vector<GpuId> all(offset.back() / kIdBytes);
  check_mpi(
      MPI_Allgatherv(
          mine.data(),
          my_bytes,
          MPI_BYTE,
          all.data(),
          bytes.data(),
          offset.data(),
          MPI_BYTE,
          node.get()),
      "MPI_Allgatherv");
  std::vector<std::vector<GpuId>> seen;
  for (std::size_t rank = 0; rank < bytes.size(); ++rank) {
    seen.emplace_back(
        all.begin() + offset[rank] / kIdBytes, all.begin() + offset[rank + 1] / kIdBytes);
  }
  return seen;
}

KnownGpus exchange(const VisibleGpus& mine) {
  const MpiComm world = MpiComm::duplicate_world();
  const MpiComm node = MpiComm::split_world_by_node();
  KnownGpus known{
      .seen_on_node = gather(node, mine.ids),
      .rank_on_node = node.rank(),
      .node = node_name(),
      .absence = mine.absence};
  const int sees = mine.ids.empty() ? 0 : 1;
  int least = 0;
  int most = 0;
  check_mpi(MPI_Allreduce(&sees, &least, 1, MPI_INT, MPI_MIN, world.get()), "MPI_Allreduce");
  check_mpi(MPI_Allreduce(&sees, &most, 1, MPI_INT, MPI_MAX, world.get()), "MPI_Allreduce");
  known.all_ranks_see = least == 1;
  known.some_rank_sees = most == 1;
  // One rank tells; the others' is seldom another fault.
  if (mine.is_fault && world.rank() == 0) spdlog::warn("no GPU can be used: {}", mine.absence);
  return known;
}

// A failure here may not keep this rank from what all do together.
VisibleGpus find_visible_gpus_or_none() {
  try {
    return find_visible_gpus();
  } catch (const InternalError& error) {
    return {.absence = error.what(), .is_fault = true};
  }
}

}  // namespace

std::optional<int> choose_gpu(std::string_view wanted, const KnownGpus& known) {
  if (wanted == "cpu") return std::nullopt;
  check(wanted == "cuda" || wanted == "auto", "a device that was not checked: {}", wanted);
  if (!known.some_rank_sees) {
    if (wanted == "auto") return std::nullopt;
    throw JobError(fmt::format(
        "parallel.device is cuda and there is no GPU; start where there are some, or set it to "
        "cpu: {}",
        known.absence));
  }
  if (!known.all_ranks_see) {
    const auto& mine = known.seen_on_node.at(known.rank_on_node);
    throw JobError(fmt::format(
        "parallel.device: some ranks see GPUs and others none; ask for a GPU for every rank, or "
        "set it to cpu: {} on {}",
        mine.empty() ? known.absence : fmt::format("GPUs: {}", mine.size()),
        known.node));
  }
  const auto own = share_out(known.seen_on_node);
  if (!std::ranges::all_of(own, &std::optional<int>::has_value)) {
    throw JobError(fmt::format(
        "parallel.device wants a GPU for every rank of a node; start as many ranks as it has "
        "GPUs, or set it to cpu: ranks: {}, GPUs: {} on {}",
        own.size(),
        count_different(known.seen_on_node),
        known.node));
  }
  return own.at(known.rank_on_node);
}

at::Device choose_device(std::string_view wanted) {
  if (wanted == "cpu") return at::kCPU;
  const std::optional<int> gpu = choose_gpu(wanted, exchange(find_visible_gpus_or_none()));
  return gpu ? use_gpu(*gpu) : at::Device(at::kCPU);
}

}  // namespace limn
