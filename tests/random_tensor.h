// Random tensors in float64, and how far from one a result is.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/ATen.h>

#include "sharding/shard_layout.h"

namespace limn::test {

// The same for the same seed, and so on every rank. Its values are float32's, so that whoever
// computes in float32 begins with the same ones.
inline at::Tensor random_tensor(const std::vector<std::int64_t>& shape, unsigned seed) {
  return at::randn(shape, at::detail::createCPUGenerator(seed), at::kFloat).to(at::kDouble);
}

inline at::Tensor rows(const at::Tensor& whole, const Slice& slice) {
  return whole.narrow(0, slice.begin, slice.size()).to(at::kFloat).contiguous();
}

inline at::Tensor columns(const at::Tensor& whole, const Slice& slice) {
  return whole.narrow(1, slice.begin, slice.size()).to(at::kFloat).contiguous();
}

inline double largest_error(const at::Tensor& got, const at::Tensor& expected) {
  return (got.to(at::kDouble) - expected).abs().max().item<double>();
}

}  // namespace limn::test
