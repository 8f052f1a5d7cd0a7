#include "worker/rotary.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "worker/gpu/gpu_rows.h"
#include "worker/kernels/cpu_kernels.h"

namespace limn {

namespace {

constexpr double kTwoPi = 2 * std::numbers::pi;

// Llama 3.1: wavelengths longer than n / low_freq_factor are stretched by `factor`, those shorter
// than n / high_freq_factor are kept, the rest is blended.
double llama3_frequency(double frequency, const RopeConfig& rope) {
  const double wavelength = kTwoPi / frequency;
  const double n = rope.original_max_positions;
  if (wavelength > n / rope.low_freq_factor) return frequency / rope.factor;
  if (wavelength < n / rope.high_freq_factor) return frequency;
  const double kept =
      (n / wavelength - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
  return frequency * ((1 - kept) / rope.factor + kept);
}

// YaRN (Peng et al. 2023, section 3.2): a linear ramp over the pairs, from those that turn more
// than beta_fast times within n positions, which are kept, to those that turn less than beta_slow
// times.
double yarn_frequency(double frequency, double pair, const RopeConfig& rope) {
  const auto d = static_cast<double>(rope.rotated);
  const auto pair_of_turns = [&](double turns) {
    return d * std::log(rope.original_max_positions / (turns * kTwoPi)) /
           (2 * std::log(rope.theta));
  };
  double low = pair_of_turns(rope.beta_fast);
  double high = pair_of_turns(rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, d - 1);
  if (low == high) high += 0.001;
  const double stretched = std::clamp((pair - low) / (high - low), 0.0, 1.0);
  return frequency / rope.factor * stretched + frequency * (1 - stretched);
}

}  // namespace

std::vector<double> rotary_frequencies(const RopeConfig& rope, std::int64_t sequence_length) {
  const bool is_long = static_cast<double>(sequence_length) > rope.original_max_positions;
  const std::vector<double>& pair_factors = is_long ? rope.long_factors : rope.short_factors;
  std::vector<double> frequencies;
  for (std::int64_t pair = 0; pair < rope.rotated / 2; ++pair) {
    const auto i = static_cast<double>(pair);
    const double frequency = std::pow(rope.theta, -2 * i / static_cast<double>(rope.rotated));
    switch (rope.scaling) {
      case RopeScaling::None:
        frequencies.push_back(frequency);
        break;
      case RopeScaling::Linear:
        frequencies.push_back(frequency / rope.factor);
        break;
      case RopeScaling::Llama3:
        frequencies.push_back(llama3_frequency(frequency, rope));
        break;
      case RopeScaling::Yarn:
        frequencies.push_back(yarn_frequency(frequency, i, rope));
        break;
      case RopeScaling::LongRope:
        frequencies.push_back(frequency / pair_factors.at(static_cast<std::size_t>(pair)));
        break;
    }
  }
  return frequencies;
}

namespace {

// [num_positions, rotated / 2] float64: a float32 angle at position 10^5 is wrong in its second
// decimal.
at::Tensor angle_table(
    const RopeConfig& rope, std::int64_t num_positions, std::int64_t sequence_length) {
  const at::Tensor frequencies = at::tensor(rotary_frequencies(rope, sequence_length), at::kDouble);
  return at::outer(at::arange(num_positions, at::kDouble), frequencies);
}

}  // namespace

RotaryEmbedding::RotaryEmbedding(
    const RopeConfig& rope, std::int64_t num_positions, at::Device device)
    : rope_(rope),
      num_positions_(num_positions) {
  at::Tensor angles = angle_table(rope, num_positions, 0);
  if (rope.scaling == RopeScaling::LongRope) {
    const auto longest =
        std::max(num_positions, static_cast<std::int64_t>(rope.original_max_positions) + 1);
    angles = at::cat({angles, angle_table(rope, num_positions, longest)});
  }
  cos_ = (angles.cos() * rope.attention_factor).to(device, at::kFloat);
  sin_ = (angles.sin() * rope.attention_factor).to(device, at::kFloat);
}

void RotaryEmbedding::rotate(
    at::Tensor& x, const at::Tensor& positions, const at::Tensor& sequence_lengths) const {
  at::Tensor table_row = positions;
  if (rope_.scaling == RopeScaling::LongRope) {
    table_row = positions + sequence_lengths.gt(rope_.original_max_positions) * num_positions_;
  }
  const RotationTask task{
      .x = x.mutable_data_ptr<float>(),
      .row_stride = x.stride(0),
      .num_heads = x.size(1),
      .head_dim = x.size(2),
      .table_row = table_row.const_data_ptr<std::int64_t>(),
      .cos = cos_.const_data_ptr<float>(),
      .sin = sin_.const_data_ptr<float>(),
      .num_pairs = rope_.rotated / 2,
      .pairs_neighbours = rope_.pairing == RotaryPairing::Neighbours};
  if (x.is_cuda()) return gpu_rotate_rows(task, x.size(0));
  constexpr std::int64_t kGrainRows = 16;
  at::parallel_for(0, x.size(0), kGrainRows, [&](std::int64_t begin, std::int64_t end) {
    row_kernels().rotate(task, begin, end);
  });
}

}  // namespace limn
