// Shards that are read again and again, in memory that does not grow.
#pragma once

#include <cstdint>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "sharding/shard_loader.h"
#include "sharding/shard_source.h"
#include "storage/checkpoint.h"

namespace limn {

// Memory that goes from tensors that nobody holds any more to new ones of as many bytes: what is
// read in a rhythm soon finds all of its memory here, already known to the system. Threads: one
// thread at a time; tensors may be dropped by others meanwhile.
class TensorPool {
 public:
  explicit TensorPool(at::Device device) : device_(device) {}

  // Contiguous, with values of whatever was there. When no idle memory fits, the idle is given up
  // first, for it was that of something else. On a GPU memory counts as idle when the host has let
  // go of it: the current stream must be behind all that uses it.
  at::Tensor take(at::IntArrayRef shape, at::ScalarType dtype);

 private:
  at::Device device_;
  std::vector<at::Tensor> blocks_;  // [bytes], uint8
};

// Reads a rank's slices of a checkpoint. Unlike a ShardLoader's their tensors take the memory of
// tensors that were dropped, files are checked before each read, and nothing is reported: whatever
// is asked for must have been expected before, by a ShardLoader. Borrows: the checkpoint. Threads:
// one thread at a time.
class StreamedShards : public ShardSource {
 public:
  // Once `stop` is requested nothing more is read, and all tensors are undefined.
  StreamedShards(const Checkpoint& checkpoint, at::Device device, std::stop_token stop);

  // Throws IoError when a file has become too short or can no longer be read.
  at::Tensor load_joined(std::span<const ShardRequest> requests, at::ScalarType dtype) override;

  bool has(const std::string& name) const override { return loader_.has(name); }

  std::string place() const override { return loader_.place(); }

  // Of all tensors that were loaded, as they were handed out.
  std::int64_t num_bytes() const { return num_bytes_; }

 private:
  ShardLoader loader_;
  TensorPool pool_;
  std::stop_token stop_;
  std::int64_t num_bytes_ = 0;
};

}  // namespace limn
