// The texts of the GPU's kernels, for NVRTC.
#pragma once

#include <string_view>

namespace limn {

extern const std::string_view kGpuKernelTasks;  // what the others need before them
extern const std::string_view kGpuIntrinsics;   // likewise
extern const std::string_view kGpuRows;
extern const std::string_view kGpuAttention;

}  // namespace limn
