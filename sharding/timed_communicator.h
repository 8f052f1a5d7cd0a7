// How long a group communicates.
#pragma once

#include <cstdint>
#include <functional>

#include <c10/core/Device.h>

#include "sharding/communicator.h"

namespace limn {

// Hands everything on to another communicator and, between start() and stop(), measures it.
// Borrows: the other communicator.
class TimedCommunicator : public Communicator {
 public:
  // What was measured on this rank.
  struct Total {
    double seconds = 0;  // the wait for ranks that come later included
    std::int64_t calls = 0;
    std::int64_t bytes = 0;  // of the tensors that were given
  };

  TimedCommunicator(Communicator& ranks, at::Device device) : ranks_(ranks), device_(device) {}

  int rank() const override { return ranks_.rank(); }

  int size() const override { return ranks_.size(); }

  void all_reduce(at::Tensor& values, ReduceOp op) override;
  at::Tensor all_gather(const at::Tensor& values) override;
  void broadcast(at::Tensor& values, int root) override;

  void give_up() override { ranks_.give_up(); }

  void meet() override { ranks_.meet(); }

  void synchronize() override { ranks_.synchronize(); }

  // From now on every call waits for the device before and after, so that its time is its own: the
  // whole gets slower.
  void start();

  // Since start().
  Total stop();

 private:
  void measure(const at::Tensor& values, const std::function<void()>& call);

  Communicator& ranks_;
  at::Device device_;
  bool is_measuring_ = false;
  Total total_;
};

}  // namespace limn
