#include "worker/rotary.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include <ATen/ATen.h>

#include "storage/error.h"

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
double yarn_frequency(
    double frequency, double pair, std::int64_t head_dim, const RopeConfig& rope) {
  const auto d = static_cast<double>(head_dim);
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

std::vector<double> rotary_frequencies(const RopeConfig& rope, std::int64_t head_dim) {
  std::vector<double> frequencies;
  for (std::int64_t pair = 0; pair < head_dim / 2; ++pair) {
    const auto i = static_cast<double>(pair);
    const double frequency = std::pow(rope.theta, -2 * i / static_cast<double>(head_dim));
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
        frequencies.push_back(yarn_frequency(frequency, i, head_dim, rope));
        break;
    }
  }
  return frequencies;
}

RotaryEmbedding::RotaryEmbedding(
    const RopeConfig& rope, std::int64_t head_dim, std::int64_t num_positions) {
  // In float64: a float32 angle at position 10^5 is wrong in its second decimal.
  const at::Tensor frequencies = at::tensor(rotary_frequencies(rope, head_dim), at::kDouble);
  const at::Tensor positions = at::arange(num_positions, at::kDouble);
  const at::Tensor angles = at::outer(positions, frequencies);  // [num_positions, head_dim / 2]
  cos_ = (angles.cos() * rope.attention_factor).to(at::kFloat);
  sin_ = (angles.sin() * rope.attention_factor).to(at::kFloat);
}

at::Tensor RotaryEmbedding::rotate(const at::Tensor& x, const at::Tensor& positions) const {
  const at::Tensor cos = cos_.index_select(0, positions).unsqueeze(1);  // [rows, 1, head_dim / 2]
  const at::Tensor sin = sin_.index_select(0, positions).unsqueeze(1);
  const std::int64_t half = x.size(2) / 2;
  const at::Tensor first = x.narrow(2, 0, half);
  const at::Tensor second = x.narrow(2, half, half);
  return at::cat({first * cos - second * sin, second * cos + first * sin}, 2);
}

}  // namespace limn
