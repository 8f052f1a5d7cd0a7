// Reads a rank's slices of a checkpoint's tensors, and nothing else of them.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>

#include "sharding/shard_source.h"
#include "storage/checkpoint.h"

namespace limn {

// Copies tensors of the host to a GPU, by way of two pieces of page-locked memory: while one is on
// its way the next is read, by all of ATen's threads. Threads: one thread at a time.
class StagedUpload {
 public:
  explicit StagedUpload(at::Device device) : device_(device) {}

  // `from` of any dtype and strides, `to` contiguous and of the same shape. What is read of `from`
  // has been read on return; what is enqueued on the current stream afterwards sees `to` whole.
  void copy(const at::Tensor& from, const at::Tensor& to);

 private:
  struct Piece {
    at::Tensor memory;  // page-locked
    c10::Event has_left{c10::DeviceType::CUDA};
  };

  at::Device device_;
  std::array<Piece, 2> pieces_;
  std::size_t next_ = 0;
};

// Collects what is missing or misshapen over all requests, so that one error names everything.
// Borrows: the checkpoint. Threads: one thread at a time.
class ShardLoader : public ShardSource {
 public:
  explicit ShardLoader(const Checkpoint& checkpoint, at::Device device = at::kCPU)
      : checkpoint_(checkpoint),
        device_(device) {
    if (!device.is_cpu()) upload_.emplace(device);
  }

  // Whether all are there in their shapes; entries in the report where not. Reads nothing of them.
  bool expect(std::span<const ShardRequest> requests);

  // Waits for the disk, so that reading does not. Throws IoError when the files no longer have what
  // they had, where reading would end the program. Requires: expect(requests).
  void fetch(std::span<const ShardRequest> requests) const;

  // Reads the requested slices, one below the other, into `to`: contiguous, of their joined shape,
  // on the device, of any dtype. Requires: expect(requests).
  void read_into(std::span<const ShardRequest> requests, const at::Tensor& to);

  // On the device. Each slice is copied straight to its place, in memory of its own: pieces of
  // their own would leave holes in the heap that nothing fits into again. Undefined, with entries
  // in the report, when the checkpoint lacks a tensor or has one of another shape.
  at::Tensor load_joined(std::span<const ShardRequest> requests, at::ScalarType dtype) override;

  bool has(const std::string& name) const override { return checkpoint_.find(name) != nullptr; }

  std::string place() const override { return checkpoint_.folder().string(); }

  // Throws DataError naming (ten at most, and their number) the tensors that were missing or
  // misshapen, and those that nobody loaded: a tensor too many means that the model computes
  // something else. `is_derived` tells which names hold no weights and may be there unread.
  void throw_unless_exact(bool (*is_derived)(std::string_view)) const;

 private:
  // Whether it is there in its shape; an entry in the report if not.
  bool expect_one(const ShardRequest& request);

  const Checkpoint& checkpoint_;
  at::Device device_;
  std::optional<StagedUpload> upload_;  // to a GPU
  std::vector<std::string> complaints_;
  std::set<std::string> requested_;
};

}  // namespace limn
