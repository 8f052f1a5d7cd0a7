// The attention of a sweep, on the device that it runs on.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "worker/gpu/gpu_attention.h"
#include "worker/suppressed_attention.h"
#include "worker/sweep_compute.h"

namespace limn {

// Borrows: layout and buffers. Threads: one thread at a time.
class SweepAttention {
 public:
  SweepAttention(
      const SweepLayout& layout,
      const std::vector<HeadRun>& heads,
      std::int64_t head_dim,
      SweepCompute compute,
      at::Device device,
      AttentionBuffers& buffers);

  // That of the next layer. Borrows: this.
  std::unique_ptr<LayerAttention> layer(AttentionOptions options);

 private:
  const SweepLayout& layout_;
  AttentionBuffers& buffers_;
  std::optional<GpuAttentionPlan> gpu_plan_;  // on a GPU
};

}  // namespace limn
