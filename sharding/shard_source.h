// Where a rank's slices of a model's tensors come from.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "sharding/shard_layout.h"

namespace limn {

// How a matrix is stored: y = x W^T for [out, in], y = x W for [in, out].
enum class Orientation { OutIn, InOut };

// A tensor of the model and the part of it that this rank holds.
struct ShardRequest {
  std::string name;
  std::vector<std::int64_t> shape;        // of the whole tensor, as the config wants it
  std::optional<std::int64_t> dimension;  // that is spread over the ranks; none: all have all of it
  Slice slice;                            // of that dimension
  Orientation orientation = Orientation::OutIn;  // InOut: stored with its two dimensions exchanged
  double center = 0;  // what the values of a trained model lie around: 1 for a norm's gains
};

// Of the part that this rank holds.
std::vector<std::int64_t> shard_shape(const ShardRequest& request);

// Of the parts that this rank holds, joined along dimension 0. Requires: at least one request.
std::vector<std::int64_t> joined_shape(std::span<const ShardRequest> requests);

// A checkpoint, or what stands for one. Threads: one thread at a time.
class ShardSource {
 public:
  virtual ~ShardSource() = default;

  // The requested slices one below the other (joined along dimension 0) as `dtype`, contiguous.
  // Undefined unless all are there. Requires: at least one request.
  virtual at::Tensor load_joined(std::span<const ShardRequest> requests, at::ScalarType dtype) = 0;

  at::Tensor load(const ShardRequest& request, at::ScalarType dtype) {
    return load_joined({&request, 1}, dtype);
  }

  // Whether there is a tensor of that name, which not every model has.
  virtual bool has(const std::string& name) const = 0;

  // For messages: the folder of a checkpoint.
  virtual std::string place() const = 0;
};

}  // namespace limn
