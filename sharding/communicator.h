// A group of ranks that compute together.
#pragma once

#include <ATen/core/Tensor.h>

#include "storage/error.h"

namespace limn {

enum class ReduceOp { Sum, Max };

// A partner could not go on with what the group does: see Communicator::give_up().
class PartnerGaveUp : public InternalError {
 public:
  PartnerGaveUp() : InternalError("a partner gave up what the group did") {}
};

// Every member function but rank(), size() and synchronize() is collective: all ranks of the group
// call it, in the same order and with tensors of the same shape and dtype. Tensors are contiguous
// and on the group's device; dtypes are float32, float64 and int64, on GPUs bfloat16 and float16,
// too. Threads: one thread at a time.
//
// On CPUs a collective waits for its result. On GPUs it is ordered like a kernel of ATen: enqueued
// on the device's current stream, behind what computes its input and before what uses its result,
// and the host does not wait. Where limn says of a function that it waits, this is what it means.
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

  // Instead of the next collective: whichever it is for the partners, theirs throws PartnerGaveUp,
  // and nobody is ahead of the others then. Waits for them. Throws InternalError on GPUs with
  // partners, whose collectives are under way already: the group is aborted.
  virtual void give_up() = 0;

  // A collective without values, for a partner that gives up after the last other one. Does nothing
  // on GPUs. Waits.
  virtual void meet() = 0;

  // Lets the host wait until this rank's GPU has done all that is enqueued on its current stream,
  // watching for partners that fail, which a copy to the host would not: it would wait for ever.
  // Where nothing is enqueued, on CPUs, or there are no partners, there is nothing to wait for. Not
  // collective. Throws InternalError when the group has failed.
  virtual void synchronize() = 0;
};

}  // namespace limn
