// A group of ranks that compute together.
#pragma once

#include <ATen/core/Tensor.h>

namespace limn {

enum class ReduceOp { Sum, Max };

// Every member function but rank() and size() is collective: all ranks of the group call it, in the
// same order and with tensors of the same shape and dtype. Tensors are contiguous and on the
// group's device; dtypes are float32, float64 and int64. Threads: one thread at a time.
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;

  // Reduces `values` over the group, in place, bitwise the same on every rank. Waits.
  virtual void all_reduce(at::Tensor& values, ReduceOp op) = 0;

  // The values of all ranks, in the order of the ranks: [size, ...]. Waits.
  virtual at::Tensor all_gather(const at::Tensor& values) = 0;

  // Overwrites `values` with those of `root`. Waits.
  virtual void broadcast(at::Tensor& values, int root) = 0;
};

}  // namespace limn
