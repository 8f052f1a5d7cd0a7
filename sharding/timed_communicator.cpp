#include "sharding/timed_communicator.h"

#include <ATen/ATen.h>

#include "sharding/device_measure.h"

namespace limn {

void TimedCommunicator::all_reduce(at::Tensor& values, ReduceOp op) {
  measure(values, [&] { ranks_.all_reduce(values, op); });
}

at::Tensor TimedCommunicator::all_gather(const at::Tensor& values) {
  at::Tensor gathered;
  measure(values, [&] { gathered = ranks_.all_gather(values); });
  return gathered;
}

void TimedCommunicator::broadcast(at::Tensor& values, int root) {
  measure(values, [&] { ranks_.broadcast(values, root); });
}

void TimedCommunicator::start() {
  is_measuring_ = true;
  total_ = {};
}

TimedCommunicator::Total TimedCommunicator::stop() {
  is_measuring_ = false;
  return total_;
}

void TimedCommunicator::measure(const at::Tensor& values, const std::function<void()>& call) {
  if (!is_measuring_) {
    call();
    return;
  }
  total_.seconds += seconds_of(device_, call);
  total_.bytes += static_cast<std::int64_t>(values.nbytes());
  ++total_.calls;
}

}  // namespace limn
