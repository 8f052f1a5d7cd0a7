#include "sharding/collective_bench.h"

#include <algorithm>

#include <ATen/ATen.h>

#include "sharding/device_measure.h"

namespace limn {

namespace {

constexpr std::int64_t kSmallest = std::int64_t{4} << 10;
constexpr std::int64_t kLargest = std::int64_t{256} << 20;

// As many as move half a gigabyte, within bounds: enough for the clock, few enough to wait for.
// The same on all ranks, for they must agree.
int num_calls(std::int64_t bytes) {
  return static_cast<int>(std::clamp<std::int64_t>((std::int64_t{512} << 20) / bytes, 3, 200));
}

}  // namespace

std::vector<CollectiveTime> time_all_reduce(Communicator& ranks, at::Device device) {
  const double size = ranks.size();
  std::vector<CollectiveTime> times;
  for (std::int64_t bytes = kSmallest; bytes <= kLargest; bytes *= 4) {
    const auto options = at::TensorOptions().device(device);
    // Zeros, for sums of sums would leave float32's range.
    at::Tensor values = at::zeros({bytes / 4}, options.dtype(at::kFloat));
    ranks.all_reduce(values, ReduceOp::Sum);  // connections are made by the first call
    const int calls = num_calls(bytes);
    const double mine = seconds_of(device, [&] {
      for (int i = 0; i < calls; ++i)
        ranks.all_reduce(values, ReduceOp::Sum);
    });
    at::Tensor slowest = at::full({1}, mine / calls, options.dtype(at::kDouble));
    ranks.all_reduce(slowest, ReduceOp::Max);
    const auto seconds = slowest.item<double>();
    const double carried = 2 * (size - 1) / size * static_cast<double>(bytes);
    times.push_back({.bytes = bytes, .seconds = seconds, .bus_bytes_per_s = carried / seconds});
  }
  return times;
}

}  // namespace limn
