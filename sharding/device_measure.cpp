#include "sharding/device_measure.h"

#include <chrono>
#include <memory>

#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include "sharding/allocation_count.h"

namespace limn {

namespace {

TensorMemory memory_on_cpu(const std::function<void()>& work) {
  const auto count = std::make_shared<AllocationCount>();
  const c10::DebugInfoGuard counting(c10::DebugInfoKind::PROFILER_STATE, count);
  work();
  return {.peak = count->peak(), .kept = count->live()};
}

// What the caching allocator has handed out, rounded up to its blocks.
c10::CachingAllocator::Stat allocated_bytes(c10::DeviceIndex gpu) {
  return c10::cuda::CUDACachingAllocator::getDeviceStats(gpu)
      .allocated_bytes[static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE)];
}

TensorMemory memory_on_gpu(at::Device device, const std::function<void()>& work) {
  const c10::cuda::CUDAGuard on_device(device);
  const c10::DeviceIndex gpu = c10::cuda::current_device();
  c10::cuda::CUDACachingAllocator::resetPeakStats(gpu);
  const std::int64_t before = allocated_bytes(gpu).current;
  work();
  c10::cuda::device_synchronize();
  const c10::CachingAllocator::Stat after = allocated_bytes(gpu);
  return {.peak = after.peak - before, .kept = after.current - before};
}

}  // namespace

void wait_for_device(at::Device device) {
  if (!device.is_cuda()) return;
  const c10::cuda::CUDAGuard on_device(device);
  c10::cuda::device_synchronize();
}

double seconds_of(at::Device device, const std::function<void()>& work) {
  wait_for_device(device);
  const auto start = std::chrono::steady_clock::now();
  work();
  wait_for_device(device);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

TensorMemory tensor_memory_of(at::Device device, const std::function<void()>& work) {
  return device.is_cuda() ? memory_on_gpu(device, work) : memory_on_cpu(work);
}

}  // namespace limn
