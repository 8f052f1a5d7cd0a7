// The GPU that tests run on, where there is one.
#pragma once

#include <optional>
#include <string>

#include <c10/core/Device.h>

#include "sharding/gpu.h"

namespace limn::test {

// Nothing where there is one.
inline std::optional<std::string> why_no_gpu() {
  const VisibleGpus visible = find_visible_gpus();
  if (!visible.ids.empty()) return std::nullopt;
  return "no GPU: " + visible.absence;
}

// The first one, readied for use.
inline at::Device gpu_under_test() {
  static const at::Device device = use_gpu(0);
  return device;
}

}  // namespace limn::test
