// Vectors of floats as wide as the instruction set that a kernel is compiled for, and the functions
// of them that the kernels need. Only for kernel sources, which are compiled once for each
// instruction set: everything is local to them, and no template of another header may be used in
// them, for the linker would keep one of its copies for all.
#pragma once

#include <cstdint>

#ifndef LIMN_ISA
#error "kernels are compiled with LIMN_ISA, the name of their instruction set"
#endif

namespace limn::LIMN_ISA {

namespace {

#if defined(__AVX512F__)
constexpr int kWidth = 16;
constexpr int kTileVectors = 4;
#elif defined(__AVX2__)
constexpr int kWidth = 8;
constexpr int kTileVectors = 2;
#else
constexpr int kWidth = 4;
constexpr int kTileVectors = 2;
#endif
// A tile of kTileRows x kTileVectors sums stays in registers.
constexpr int kTileRows = 6;
constexpr std::int64_t kPanel = kWidth * kTileVectors;

using Vec [[gnu::vector_size(kWidth * 4)]] = float;
using IntVec [[gnu::vector_size(kWidth * 4)]] = std::int32_t;
using HalfVec [[gnu::vector_size(kWidth * 2)]] = std::uint16_t;

constexpr float kInfinity = __builtin_inff();

inline Vec load(const float* from) {
  Vec v;
  __builtin_memcpy(&v, from, sizeof v);
  return v;
}

inline void store(float* to, Vec v) {
  __builtin_memcpy(to, &v, sizeof v);
}

inline Vec splat(float x) {
  return x - Vec{};
}

inline IntVec bits(Vec v) {
  return reinterpret_cast<IntVec>(v);
}

inline Vec floats(IntVec v) {
  return reinterpret_cast<Vec>(v);
}

// This and the next give b where one of the two is NaN.
inline Vec smaller(Vec a, Vec b) {
  return a < b ? a : b;
}

inline Vec larger(Vec a, Vec b) {
  return a > b ? a : b;
}

inline float sum(Vec v) {
  float total = 0;
  for (int i = 0; i < kWidth; ++i)
    total += v[i];
  return total;
}

inline float largest(Vec v) {
  float result = v[0];
  for (int i = 1; i < kWidth; ++i)
    result = v[i] > result ? v[i] : result;
  return result;
}

// bfloat16, rounded to nearest even. Not for NaN.
inline void store(std::uint16_t* to, Vec v) {
  const IntVec b = bits(v);
  const IntVec rounded = b + 0x7fff + ((b >> 16) & 1);
  const HalfVec half = __builtin_convertvector(rounded >> 16, HalfVec);
  __builtin_memcpy(to, &half, sizeof half);
}

inline Vec load(const std::uint16_t* from) {
  HalfVec half;
  __builtin_memcpy(&half, from, sizeof half);
  return floats(__builtin_convertvector(half, IntVec) << 16);
}

// e^x, within 2 units in the last place; 0 below e^-87.3, e^88.7 above that. Of NaN: NaN.
inline Vec exp(Vec x) {
  const Vec in_range = larger(splat(-87.3F), smaller(splat(88.7F), x));
  // x = n log 2 + r; adding 1.5 * 2^23 rounds to the nearest integer.
  constexpr float kRound = 12582912.0F;
  const Vec shifted = in_range * 1.44269504F + kRound;
  const Vec n = shifted - kRound;
  const Vec r = (in_range - n * 0.693359375F) + n * 2.12194440e-4F;
  // The Cephes library's polynomial of e^r on [-log 2 / 2, log 2 / 2].
  Vec p = r * 1.9875691500e-4F + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  const Vec e_r = p * (r * r) + r + 1.0F;
  const Vec scaled = floats(bits(e_r) + (bits(shifted) << 23));
  return x < -87.3F ? Vec{} : scaled;
}

// Within 2 units in the last place.
inline Vec tanh(Vec x) {
  const Vec size = x < 0.0F ? -x : x;
  // The Cephes library's polynomial near 0, where the other form cancels.
  const Vec z = x * x;
  Vec p = z * -5.70498872745e-3F + 2.06390887954e-2F;
  p = p * z - 5.37397155531e-2F;
  p = p * z + 1.33314422036e-1F;
  p = p * z - 3.33332819422e-1F;
  const Vec near = p * z * x + x;
  const Vec far = 1.0F - 2.0F / (exp(2.0F * size) + 1.0F);
  return size < 0.625F ? near : (x < 0.0F ? -far : far);
}

}  // namespace

}  // namespace limn::LIMN_ISA
