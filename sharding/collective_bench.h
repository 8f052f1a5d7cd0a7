// How fast a group's all-reduce is.
#pragma once

#include <cstdint>
#include <vector>

#include <c10/core/Device.h>

#include "sharding/communicator.h"

namespace limn {

struct CollectiveTime {
  std::int64_t bytes = 0;  // of the tensor on each rank
  double seconds = 0;      // of one call, the mean of many on the slowest rank
  double bus_bytes_per_s =
      0;  // what the busiest link must carry: 2 (ranks - 1) / ranks of the bytes
};

// All-reduces float32 tensors on the device from 4 KiB to 256 MiB, each four times as large as the
// one before. Collective. Waits.
std::vector<CollectiveTime> time_all_reduce(Communicator& ranks, at::Device device);

}  // namespace limn
