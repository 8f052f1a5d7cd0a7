#include "sharding/streamed_shards.h"

#include <algorithm>
#include <utility>

#include <ATen/ATen.h>

#include "storage/error.h"

namespace limn {

namespace {

// Nobody but the pool holds it. Nobody else can take it up again, so this cannot change meanwhile.
bool is_idle(const at::Tensor& block) {
  return block.storage().use_count() == 1;
}

}  // namespace

at::Tensor TensorPool::take(at::IntArrayRef shape, at::ScalarType dtype) {
  const at::TensorOptions options = at::TensorOptions().device(device_);
  const auto num_bytes =
      c10::multiply_integers(shape) * static_cast<std::int64_t>(c10::elementSize(dtype));
  if (num_bytes == 0) return at::empty(shape, options.dtype(dtype));
  auto block = std::ranges::find_if(
      blocks_, [&](const at::Tensor& one) { return one.numel() == num_bytes && is_idle(one); });
  if (block == blocks_.end()) {
    std::erase_if(blocks_, is_idle);
    block = blocks_.insert(blocks_.end(), at::empty({num_bytes}, options.dtype(at::kByte)));
  }
  return block->view(dtype).view(shape);
}

StreamedShards::StreamedShards(
    const Checkpoint& checkpoint, at::Device device, std::stop_token stop)
    : loader_(checkpoint, device),
      pool_(device),
      stop_(std::move(stop)) {}

at::Tensor StreamedShards::load_joined(
    std::span<const ShardRequest> requests, at::ScalarType dtype) {
  if (stop_.stop_requested()) return {};
  check(loader_.expect(requests), "tensors were not expected before: {}", requests[0].name);
  loader_.fetch(requests);
  at::Tensor joined = pool_.take(joined_shape(requests), dtype);
  loader_.read_into(requests, joined);
  num_bytes_ += static_cast<std::int64_t>(joined.nbytes());
  return joined;
}

}  // namespace limn
