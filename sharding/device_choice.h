// Which device a rank computes on.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <c10/core/Device.h>

#include "sharding/gpu.h"

namespace limn {

// What a rank knows of GPUs once all ranks have told theirs.
struct KnownGpus {
  std::vector<std::vector<GpuId>> seen_on_node;  // by each rank of this rank's node, in their order
  int rank_on_node = 0;                          // this rank's place among them
  std::string node;
  std::string absence;          // why this rank sees none
  bool some_rank_sees = false;  // of all nodes
  bool all_ranks_see = false;
};

// The number of the GPU that this rank computes on; nothing: the CPU. Each rank of a node takes the
// first GPU that it sees and that none before it has taken, those that see fewer before the others:
// ranks that see the same GPUs take one after the other, and a rank that was given its own takes
// that. `wanted` is cpu, cuda or auto: GPUs where there are any. Throws JobError when GPUs are
// wanted or there and do not suffice for one a rank. Ranks with the same `wanted` agree on the kind
// of device, or one of them throws.
std::optional<int> choose_gpu(std::string_view wanted, const KnownGpus& known);

// The same with what this machine has, readied for use (see use_gpu), and for the CPU at::kCPU
// without asking any driver. Collective over all ranks; may throw on some of them only.
at::Device choose_device(std::string_view wanted);

}  // namespace limn
