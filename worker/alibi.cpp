#include "worker/alibi.h"

#include <bit>
#include <cmath>
#include <vector>

#include <ATen/ATen.h>

namespace limn {

namespace {

// With p the largest power of two of at most num_heads: 2^(-8 (h+1) / p) for the first p heads; the
// rest take every other slope of 2p heads.
double slope(std::int64_t head, std::int64_t num_heads) {
  const auto p = static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(num_heads)));
  const double exponent =
      head < p ? static_cast<double>(head + 1) / static_cast<double>(p)
               : static_cast<double>(2 * (head - p) + 1) / static_cast<double>(2 * p);
  return std::exp2(-8 * exponent);
}

at::Tensor rounded(const at::Tensor& exact) {
  return exact.to(at::kBFloat16).to(at::kDouble);
}

}  // namespace

at::Tensor alibi_bias(
    AlibiKind kind,
    std::int64_t num_heads,
    const Slice& heads,
    std::int64_t num_keys,
    double attention_scale) {
  std::vector<double> slopes;
  for (std::int64_t head = heads.begin; head < heads.end; ++head) {
    slopes.push_back(slope(head, num_heads));
  }
  const at::Tensor slope_of_head = at::tensor(slopes, at::kDouble);
  const at::Tensor positions = at::arange(num_keys, at::kDouble);
  if (kind == AlibiKind::Bloom) return at::outer(slope_of_head, positions).to(at::kFloat);
  // Falcon rounds slope, position and product to bfloat16, in every precision.
  const at::Tensor bias = rounded(at::outer(rounded(slope_of_head), rounded(positions)));
  return (bias * attention_scale).to(at::kFloat);
}

}  // namespace limn
