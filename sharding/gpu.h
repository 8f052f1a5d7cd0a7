// The GPUs that this process sees, and their use through ATen.
#pragma once

#include <array>
#include <string>
#include <vector>

#include <c10/core/Device.h>

namespace limn {

// Tells one GPU from another, whatever number a process gives it.
struct GpuId {
  std::array<char, 16> bytes;

  bool operator==(const GpuId&) const = default;
};

struct VisibleGpus {
  // In the order of CUDA's numbers: CUDA_VISIBLE_DEVICES, Slurm and the like hide some of a node's.
  std::vector<GpuId> ids;
  // Why there are none.
  std::string absence;
  // Whether that is something to be mended: a driver that is too old, not a machine without GPUs.
  bool is_fault = false;
};

// Asks the driver; takes no memory of a GPU and loads no library.
VisibleGpus find_visible_gpus();

// Loads the part of ATen that computes on GPUs: once, for it is large; every call after the first
// does nothing. Needs no GPU. To be called before ATen is asked for CUDA for the first time, since
// it remembers the answer. Throws JobError when the library cannot be loaded.
void load_gpu_support();

// Makes the GPU with this number the current one of this thread and readies ATen for it. Matrix
// products of float32 are those of IEEE float32, not of TF32, and sums in products of bfloat16 and
// float16 are float32 throughout. Throws JobError when ATen's support of GPUs cannot be loaded.
at::Device use_gpu(int index);

// Gives memory that ATen keeps for later back to the GPU; on CPUs it keeps none.
void release_cached_memory(at::Device device);

// "cpu", or "cuda:0 NVIDIA H200".
std::string device_text(at::Device device);

}  // namespace limn
