#include "worker/gpu/gpu_program.h"

#include <cuda_runtime_api.h>
#include <nvrtc.h>

#include <memory>
#include <utility>

#include <c10/cuda/CUDAStream.h>
#include <fmt/format.h>

#include "storage/error.h"
#include "worker/gpu/gpu_sources.h"

namespace limn {

namespace {

void check_cuda(cudaError_t status, std::string_view what) {
  if (status == cudaSuccess) return;
  throw InternalError(fmt::format("{}: {}", what, cudaGetErrorString(status)));
}

void check_nvrtc(nvrtcResult status, std::string_view what) {
  if (status == NVRTC_SUCCESS) return;
  throw InternalError(fmt::format("{}: {}", what, nvrtcGetErrorString(status)));
}

class NvrtcProgram {
 public:
  NvrtcProgram(const std::string& name, const std::string& source) {
    check_nvrtc(
        nvrtcCreateProgram(&program_, source.c_str(), name.c_str(), 0, nullptr, nullptr),
        "nvrtcCreateProgram");
  }

  ~NvrtcProgram() { nvrtcDestroyProgram(&program_); }

  NvrtcProgram(const NvrtcProgram&) = delete;
  NvrtcProgram& operator=(const NvrtcProgram&) = delete;

  std::vector<char> compile(const std::vector<std::string>& options) {
    std::vector<const char*> pointers;
    for (const std::string& option : options)
      pointers.push_back(option.c_str());
    const nvrtcResult status =
        nvrtcCompileProgram(program_, static_cast<int>(pointers.size()), pointers.data());
    if (status != NVRTC_SUCCESS) {
      throw InternalError(
          fmt::format("a GPU kernel does not compile ({}): {}", fmt::join(options, " "), log()));
    }
    std::size_t size = 0;
    check_nvrtc(nvrtcGetCUBINSize(program_, &size), "nvrtcGetCUBINSize");
    std::vector<char> code(size);
    check_nvrtc(nvrtcGetCUBIN(program_, code.data()), "nvrtcGetCUBIN");
    return code;
  }

 private:
  std::string log() const {
    std::size_t size = 0;
    nvrtcGetProgramLogSize(program_, &size);
    std::string text(size, '\0');
    nvrtcGetProgramLog(program_, text.data());
    return text;
  }

  nvrtcProgram program_ = nullptr;
};

std::vector<char> compile(
    const std::string& name,
    std::string_view kernels,
    int capability,
    std::vector<std::string> options) {
  const std::string source = fmt::format("{}{}{}", kGpuKernelTasks, kGpuIntrinsics, kernels);
  options.push_back(fmt::format("--gpu-architecture=sm_{}", capability));
  options.emplace_back("--std=c++17");
  return NvrtcProgram(name, source).compile(options);
}

// Machine code on the current device.
class LoadedProgram final : public GpuProgram {
 public:
  explicit LoadedProgram(std::vector<char> code) : code_(std::move(code)) {
    check_cuda(
        cudaLibraryLoadData(&library_, code_.data(), nullptr, nullptr, 0, nullptr, nullptr, 0),
        "cudaLibraryLoadData");
  }

  ~LoadedProgram() override { cudaLibraryUnload(library_); }

  LoadedProgram(const LoadedProgram&) = delete;
  LoadedProgram& operator=(const LoadedProgram&) = delete;

  void launch(const GpuLaunch& launch) override {
    if (launch.blocks == 0) return;
    const cudaKernel_t kernel = find(launch.kernel, launch.shared_bytes);
    check_cuda(
        cudaLaunchKernel(
            static_cast<const void*>(kernel),
            dim3(static_cast<unsigned>(launch.blocks)),
            dim3(static_cast<unsigned>(launch.threads)),
            launch.arguments,
            static_cast<std::size_t>(launch.shared_bytes),
            c10::cuda::getCurrentCUDAStream()),
        launch.kernel);
  }

 private:
  struct Kernel {
    cudaKernel_t handle = nullptr;
    int shared_bytes = 48 << 10;  // that it may use
  };

  cudaKernel_t find(std::string_view name, int shared_bytes) {
    const auto [entry, is_new] = kernels_.try_emplace(std::string(name));
    Kernel& kernel = entry->second;
    if (is_new) {
      check_cuda(cudaLibraryGetKernel(&kernel.handle, library_, entry->first.c_str()), name);
    }
    if (shared_bytes > kernel.shared_bytes) {
      check_cuda(
          cudaFuncSetAttribute(
              static_cast<const void*>(kernel.handle),
              cudaFuncAttributeMaxDynamicSharedMemorySize,
              shared_bytes),
          name);
      kernel.shared_bytes = shared_bytes;
    }
    return kernel.handle;
  }

  std::vector<char> code_;
  cudaLibrary_t library_ = nullptr;
  std::map<std::string, Kernel> kernels_;
};

int device_attribute(cudaDeviceAttr attribute) {
  int device = 0;
  int value = 0;
  check_cuda(cudaGetDevice(&device), "cudaGetDevice");
  check_cuda(cudaDeviceGetAttribute(&value, attribute, device), "cudaDeviceGetAttribute");
  return value;
}

class CompiledPrograms final : public GpuPrograms {
 public:
  GpuProgram& rows() override {
    if (rows_ == nullptr)
      rows_ = std::make_unique<LoadedProgram>(compile_gpu_rows(gpu_capability()));
    return *rows_;
  }

  GpuProgram& attention(const GpuAttentionVariant& variant) override {
    std::unique_ptr<GpuProgram>& program = attention_[variant];
    if (program == nullptr) {
      program = std::make_unique<LoadedProgram>(compile_gpu_attention(variant, gpu_capability()));
    }
    return *program;
  }

  int shared_bytes_limit() override {
    return device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin);
  }

 private:
  std::unique_ptr<GpuProgram> rows_;
  std::map<GpuAttentionVariant, std::unique_ptr<GpuProgram>> attention_;
};

}  // namespace

int gpu_capability() {
  return 10 * device_attribute(cudaDevAttrComputeCapabilityMajor) +
         device_attribute(cudaDevAttrComputeCapabilityMinor);
}

std::vector<char> compile_gpu_rows(int capability) {
  return compile("rows.cu", kGpuRows, capability, {});
}

std::vector<char> compile_gpu_attention(const GpuAttentionVariant& variant, int capability) {
  return compile(
      "attention.cu",
      kGpuAttention,
      capability,
      {fmt::format("-DLIMN_HEAD_DIM={}", variant.head_dim),
       fmt::format("-DLIMN_PIECES={}", variant.pieces),
       fmt::format("-DLIMN_WARPS={}", variant.warps),
       fmt::format("-DLIMN_TILES={}", variant.tiles),
       fmt::format("-DLIMN_KEYS={}", variant.keys)});
}

GpuPrograms& gpu_programs() {
  // Never destroyed: the driver may be gone before statics are.
  static GpuPrograms& programs = *new CompiledPrograms;
  return programs;
}

}  // namespace limn
