// Reads a rank's slices of a checkpoint's tensors, and nothing else of them.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

#include "sharding/shard_layout.h"
#include "storage/checkpoint.h"

namespace limn {

// How a matrix is stored: y = x W^T for [out, in], y = x W for [in, out].
enum class Orientation { OutIn, InOut };

// A tensor of the checkpoint and the part of it that this rank holds.
struct ShardRequest {
  std::string name;
  std::vector<std::int64_t> shape;        // of the whole tensor, as the config wants it
  std::optional<std::int64_t> dimension;  // that is spread over the ranks; none: all have all of it
  Slice slice;                            // of that dimension
  Orientation orientation = Orientation::OutIn;  // InOut: stored with its two dimensions exchanged
};

// Collects what is missing or misshapen over all requests, so that one error names everything.
// Borrows: the checkpoint. Threads: one thread at a time.
class ShardLoader {
 public:
  explicit ShardLoader(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {}

  // The requested slice as `dtype`, whatever is stored, contiguous, in memory of its own. An
  // undefined tensor, and an entry in the report, when the checkpoint has no such tensor or one of
  // another shape.
  at::Tensor load(const ShardRequest& request, at::ScalarType dtype);

  // The requested slices one below the other (joined along dimension 0), each copied straight to
  // its place: pieces of their own would leave holes in the heap that nothing fits into again.
  // Undefined, with entries in the report, unless all are there. Requires: at least one request.
  at::Tensor load_joined(std::span<const ShardRequest> requests, at::ScalarType dtype);

  bool has(const std::string& name) const { return checkpoint_.find(name) != nullptr; }

  // Throws DataError naming (ten at most, and their number) the tensors that were missing or
  // misshapen, and those that nobody loaded: a tensor too many means that the model computes
  // something else. `is_derived` tells which names hold no weights and may be there unread.
  void throw_unless_exact(bool (*is_derived)(std::string_view)) const;

 private:
  // The stored tensor, or null and an entry in the report.
  const StoredTensor* find(const ShardRequest& request);

  const Checkpoint& checkpoint_;
  std::vector<std::string> complaints_;
  std::set<std::string> requested_;
};

}  // namespace limn
