#include "worker/streamed_layers.h"

#include <chrono>
#include <utility>

#include <ATen/Parallel.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "sharding/streamed_shards.h"
#include "storage/error.h"

namespace limn {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

}  // namespace

StreamedLayers::StreamedLayers(
    const Checkpoint& checkpoint,
    const ModelConfig& model,
    Communicator& tensor_ranks,
    at::ScalarType dtype,
    at::Device device)
    : checkpoint_(checkpoint),
      model_(model),
      tensor_ranks_(tensor_ranks),
      dtype_(dtype),
      device_(device) {
  if (!device.is_cpu()) {
    gpu_.emplace(GpuOrder{
        c10::impl::VirtualGuardImpl(device.type()).getStreamFromGlobalPool(device),
        c10::Event(device.type()),
        c10::Event(device.type())});
  }
  // ATen settles a thread's number of threads when it first computes there, by what any thread has
  // set last: this one's must be settled before the reader sets its own.
  at::get_num_threads();
  reader_ = std::jthread([this](const std::stop_token& stop) { read_on(stop); });
}

void StreamedLayers::rewind() {
  while (expected_ != 0)
    layer(expected_);
}

LayerWeights StreamedLayers::layer(std::size_t index) {
  check(index == expected_, "a layer out of order: {} instead of {}", index, expected_);
  const Clock::time_point begin = Clock::now();
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return next_ || failure_; });
  times_.waiting_s += seconds_since(begin);
  if (!next_) std::rethrow_exception(failure_);
  if (gpu_) {
    const c10::Stream computing = c10::impl::VirtualGuardImpl(device_.type()).getStream(device_);
    gpu_->was_in_use.record(computing);
    gpu_->is_read.block(computing);
  }
  held_ = std::move(*next_);
  next_.reset();
  expected_ = (index + 1) % model_.decoder.layers.size();
  changed_.notify_all();
  return held_;
}

StreamingTimes StreamedLayers::times() const {
  const std::lock_guard lock(mutex_);
  return times_;
}

void StreamedLayers::read_on(const std::stop_token& stop) {
  try {
    // All threads but this one are at work; a GPU's host has nothing else to do.
    if (!gpu_) at::set_num_threads(1);
    std::optional<c10::StreamGuard> on_reading_stream;
    if (gpu_) on_reading_stream.emplace(gpu_->reading);
    StreamedShards shards(checkpoint_, device_, stop);

    for (std::size_t index = 0;; index = (index + 1) % model_.decoder.layers.size()) {
      const Clock::time_point begin = Clock::now();
      const std::int64_t num_bytes_before = shards.num_bytes();
      // Into memory that kernels of the layer before the last may still be reading.
      if (gpu_) gpu_->was_in_use.block(gpu_->reading);
      LayerWeights layer = read_layer_weights(shards, model_, tensor_ranks_, dtype_, index);
      if (gpu_) gpu_->is_read.record(gpu_->reading);

      std::unique_lock lock(mutex_);
      ++times_.num_layers;
      times_.num_bytes += shards.num_bytes() - num_bytes_before;
      times_.reading_s += seconds_since(begin);
      if (stop.stop_requested()) return;  // it may lack tensors
      next_ = std::move(layer);
      changed_.notify_all();
      // Until it is asked for, and the layer before it is let go.
      if (!changed_.wait(lock, stop, [&] { return !next_; })) return;
    }
  } catch (...) {
    const std::lock_guard lock(mutex_);
    failure_ = std::current_exception();
    changed_.notify_all();
  }
}

}  // namespace limn
