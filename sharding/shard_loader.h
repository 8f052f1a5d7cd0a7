// Reads a rank's slices of a checkpoint's tensors, and nothing else of them.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "sharding/shard_layout.h"
#include "storage/checkpoint.h"

namespace limn {

// How a tensor is spread over the tensor ranks.
enum class Placement {
  Whole,   // every rank has all of it
  Column,  // a slice of dimension 0, the output of a linear layer
  Row,     // a slice of dimension 1, the input of a linear layer
};

// A tensor of the checkpoint and the part of it that this rank holds.
struct ShardRequest {
  std::string name;
  std::vector<std::int64_t> shape;  // of the whole tensor, as the config wants it
  Placement placement = Placement::Whole;
  Slice slice;  // of the spread dimension
};

// Collects what is missing or misshapen over all requests, so that one error names everything.
// Borrows: the checkpoint. Threads: one thread at a time.
class ShardLoader {
 public:
  // Tensors are made in `dtype`, whatever the checkpoint stores.
  ShardLoader(const Checkpoint& checkpoint, at::ScalarType dtype)
      : checkpoint_(checkpoint),
        dtype_(dtype) {}

  // The requested slice, contiguous, in memory of its own. An empty tensor, and an entry in the
  // report, when the checkpoint has no such tensor or one of another shape.
  at::Tensor load(const ShardRequest& request);

  bool has(const std::string& name) const { return checkpoint_.find(name) != nullptr; }

  // Throws DataError naming the tensors (ten at most, and their number) that were missing or
  // misshapen.
  void throw_if_incomplete() const;

 private:
  const Checkpoint& checkpoint_;
  at::ScalarType dtype_;
  std::vector<std::string> complaints_;
};

}  // namespace limn
