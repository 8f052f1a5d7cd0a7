// Time and memory of what a process computes on a device.
#pragma once

#include <cstdint>
#include <functional>

#include <c10/core/Device.h>

namespace limn {

// Waits until the device has done all that it was given. A CPU always has.
void wait_for_device(at::Device device);

// Seconds from an idle device until it has done all that `work` gives it. Waits.
double seconds_of(at::Device device, const std::function<void()>& work);

// Bytes of tensors on the device, beyond those that are live before `work`.
struct TensorMemory {
  std::int64_t peak = 0;  // the most that is live at once
  std::int64_t kept = 0;  // live in the end
};

// Of what `work` allocates on this thread (a CPU) or in this process (a GPU). Waits.
TensorMemory tensor_memory_of(at::Device device, const std::function<void()>& work);

}  // namespace limn
