#include "sharding/gpu.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>

#include <ATen/Context.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <fmt/format.h>

#include "storage/error.h"

namespace limn {

namespace {

void check_cuda(cudaError_t code, const char* call) {
  if (code == cudaSuccess) return;
  cudaGetLastError();  // or the next call of someone else would find it
  throw InternalError(fmt::format("{} failed: {}", call, cudaGetErrorString(code)));
}

cudaDeviceProp properties_of(int index) {
  cudaDeviceProp properties{};
  check_cuda(cudaGetDeviceProperties(&properties, index), "cudaGetDeviceProperties");
  return properties;
}

std::string version_text(int cuda_version) {
  return fmt::format("{}.{}", cuda_version / 1000, cuda_version % 1000 / 10);
}

// What cudaGetDeviceCount's failure means to a person.
VisibleGpus no_gpus(cudaError_t code) {
  int driver = 0;
  int runtime = 0;
  cudaDriverGetVersion(&driver);  // 0: there is none
  cudaRuntimeGetVersion(&runtime);
  cudaGetLastError();
  if (driver == 0) return {.absence = "no NVIDIA driver"};
  if (code == cudaErrorNoDevice || code == cudaSuccess) {
    const char* const visible = std::getenv("CUDA_VISIBLE_DEVICES");
    if (visible == nullptr) return {.absence = "the NVIDIA driver knows none"};
    return {.absence = fmt::format("CUDA_VISIBLE_DEVICES=\"{}\" hides all", visible)};
  }
  if (code == cudaErrorInsufficientDriver) {
    return {
        .absence = fmt::format(
            "the NVIDIA driver is made for CUDA {}, and CUDA {} is needed",
            version_text(driver),
            version_text(runtime)),
        .is_fault = true};
  }
  return {.absence = cudaGetErrorString(code), .is_fault = true};
}

}  // namespace

VisibleGpus find_visible_gpus() {
  int count = 0;
  const cudaError_t code = cudaGetDeviceCount(&count);
  if (code != cudaSuccess || count == 0) return no_gpus(code);
  VisibleGpus visible;
  for (int index = 0; index < count; ++index) {
    const cudaUUID_t uuid = properties_of(index).uuid;
    GpuId& id = visible.ids.emplace_back();
    static_assert(sizeof uuid.bytes == sizeof id.bytes);
    std::copy(std::begin(uuid.bytes), std::end(uuid.bytes), id.bytes.begin());
  }
  return visible;
}

void load_gpu_support() {
  // By its name alone: the program's run path leads to it. Never closed, for ATen keeps pointers
  // into it.
  if (::dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    throw JobError(fmt::format(
        "parallel.device: PyTorch's library for GPUs cannot be loaded; run launch/setup.sh, or set "
        "it to cpu: {}",
        ::dlerror()));
  }
  check(at::Context::hasCUDART(), "ATen was asked for CUDA before its library was loaded");
}

at::Device use_gpu(int index) {
  load_gpu_support();
  const at::Device device(at::kCUDA, static_cast<at::DeviceIndex>(index));
  // First, or this process would take memory of GPU 0, too.
  c10::cuda::set_device(device.index());
  at::Context& context = at::globalContext();
  context.lazyInitDevice(at::kCUDA);
  // Deltas are small differences of large sums. What ATen would do by itself depends on the
  // environment for the first of these, and is less for the others.
  context.setAllowTF32CuBLAS(false);
  context.setAllowBF16ReductionCuBLAS(false);
  context.setAllowFP16ReductionCuBLAS(false);
  context.setAllowFP16AccumulationCuBLAS(false);
  return device;
}

void release_cached_memory(at::Device device) {
  if (device.is_cuda()) c10::cuda::CUDACachingAllocator::emptyCache();
}

std::string device_text(at::Device device) {
  if (!device.is_cuda()) return device.str();
  return fmt::format("{} {}", device.str(), properties_of(device.index()).name);
}

}  // namespace limn
