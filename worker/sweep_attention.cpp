#include "worker/sweep_attention.h"

#include <utility>

namespace limn {

namespace {

// All of a float32, or of the delta form so much that the rounding of its products is the larger
// one.
int gpu_pieces(SweepCompute compute) {
  return compute == SweepCompute::Float32 ? 3 : 2;
}

}  // namespace

SweepAttention::SweepAttention(
    const SweepLayout& layout,
    const std::vector<HeadRun>& heads,
    std::int64_t head_dim,
    SweepCompute compute,
    at::Device device,
    AttentionBuffers& buffers)
    : layout_(layout),
      buffers_(buffers) {
  if (device.is_cuda()) gpu_plan_.emplace(layout, heads, head_dim, gpu_pieces(compute), device);
}

std::unique_ptr<LayerAttention> SweepAttention::layer(AttentionOptions options) {
  if (gpu_plan_) return std::make_unique<GpuAttention>(*gpu_plan_, std::move(options));
  return std::make_unique<SuppressedAttention>(layout_, std::move(options), buffers_);
}

}  // namespace limn
