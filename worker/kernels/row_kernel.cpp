#include "worker/kernels/row_kernel.h"

#include "worker/kernels/cpu_kernels.h"
#include "worker/kernels/vector.h"

namespace limn::LIMN_ISA {

namespace {

// The first n elements of a vector; the others are 0.
inline Vec load(const float* from, int n) {
  if (n == kWidth) return load(from);
  Vec v{};
  for (int i = 0; i < n; ++i)
    v[i] = from[i];
  return v;
}

inline Vec load(const std::uint16_t* from, int n) {
  if (n == kWidth) return load(from);
  std::uint16_t padded[kWidth] = {};
  for (int i = 0; i < n; ++i)
    padded[i] = from[i];
  return load(padded);
}

template <typename Element>
inline void store(Element* to, Vec v, int n) {
  if (n == kWidth) return store(to, v);
  Element padded[kWidth];
  store(padded, v);
  for (int i = 0; i < n; ++i)
    to[i] = padded[i];
}

// Calls f(i, n) for successive vectors of a row.
template <typename F>
inline void for_vectors(std::int64_t width, const F& f) {
  std::int64_t i = 0;
  for (; i + kWidth <= width; i += kWidth)
    f(i, kWidth);
  if (i < width) f(i, static_cast<int>(width - i));
}

// One row of a source.
struct Row {
  const float* floats;
  const std::uint16_t* bfloats;

  Row(const RowSource& source, std::int64_t row) {
    const std::int64_t offset = (source.row != nullptr ? source.row[row] : row) * source.stride;
    floats = source.floats != nullptr ? source.floats + offset : nullptr;
    bfloats = source.bfloats != nullptr ? source.bfloats + offset : nullptr;
  }

  Vec at(std::int64_t i, int n) const {
    if (floats != nullptr) return load(floats + i, n);
    if (bfloats != nullptr) return load(bfloats + i, n);
    return Vec{};
  }
};

// One row of all that a task is about.
struct TaskRow {
  Row x;
  Row base;
  Row minus;
  float* floats;
  std::uint16_t* bfloats;

  TaskRow(const RowTask& task, std::int64_t row)
      : x(task.x, row),
        base(task.base, row),
        minus(task.minus, row),
        floats(task.out.floats != nullptr ? task.out.floats + row * task.out.stride : nullptr),
        bfloats(task.out.bfloats != nullptr ? task.out.bfloats + row * task.out.stride : nullptr) {}

  // What the function is of.
  Vec value(std::int64_t i, int n) const { return x.at(i, n) + base.at(i, n); }

  // Takes what the function gave.
  void put(std::int64_t i, int n, Vec y) const {
    y -= minus.at(i, n);
    if (floats != nullptr) store(floats + i, y, n);
    if (bfloats != nullptr) store(bfloats + i, y, n);
  }
};

void scale_rows(const RowTask& task, const ScaleFunction& f, std::int64_t begin, std::int64_t end) {
  for (std::int64_t row = begin; row < end; ++row) {
    const TaskRow of(task, row);
    for_vectors(task.width, [&](std::int64_t i, int n) {
      of.put(i, n, f.scale * of.x.at(i, n) + of.base.at(i, n));
    });
  }
}

void norm_rows(const RowTask& task, const NormFunction& f, std::int64_t begin, std::int64_t end) {
  const auto width = static_cast<float>(task.width);
  for (std::int64_t row = begin; row < end; ++row) {
    const TaskRow of(task, row);

    float mean = 0;
    if (f.subtracts_mean) {
      Vec total{};
      for_vectors(task.width, [&](std::int64_t i, int n) { total += of.value(i, n); });
      mean = sum(total) / width;
    }
    Vec squares{};
    for_vectors(task.width, [&](std::int64_t i, int n) {
      Vec centred = of.value(i, n) - mean;
      for (int k = n; k < kWidth; ++k)
        centred[k] = 0;
      squares += centred * centred;
    });
    const float scale = 1 / __builtin_sqrtf(sum(squares) / width + f.epsilon);
    for_vectors(task.width, [&](std::int64_t i, int n) {
      Vec y = (of.value(i, n) - mean) * scale;
      if (f.weight != nullptr) y *= load(f.weight + i, n);
      if (f.bias != nullptr) y += load(f.bias + i, n);
      of.put(i, n, y);
    });
  }
}

template <ActivationKind kKind>
inline Vec activate(Vec v) {
  if constexpr (kKind == ActivationKind::Silu) return v / (1.0F + exp(-v));
  if constexpr (kKind == ActivationKind::Relu) return v > 0.0F ? v : Vec{};
  // sqrt(2 / pi) (v + 0.044715 v^3)
  const Vec inner = 0.7978845608F * v * (1.0F + 0.044715F * v * v);
  return 0.5F * v * (1.0F + tanh(inner));
}

template <ActivationKind kKind>
void activate_rows_as(const RowTask& task, bool gated, std::int64_t begin, std::int64_t end) {
  for (std::int64_t row = begin; row < end; ++row) {
    const TaskRow of(task, row);
    for_vectors(task.width, [&](std::int64_t i, int n) {
      Vec y = activate<kKind>(of.value(i, n));
      if (gated) y *= of.value(task.width + i, n);
      of.put(i, n, y);
    });
  }
}

void activate_rows(
    const RowTask& task, const ActivationFunction& f, std::int64_t begin, std::int64_t end) {
  switch (f.kind) {
    case ActivationKind::Silu:
      return activate_rows_as<ActivationKind::Silu>(task, f.gated, begin, end);
    case ActivationKind::GeluTanh:
      return activate_rows_as<ActivationKind::GeluTanh>(task, f.gated, begin, end);
    case ActivationKind::Relu:
      return activate_rows_as<ActivationKind::Relu>(task, f.gated, begin, end);
  }
}

void rotate_halves(float* x, const float* cos, const float* sin, std::int64_t num_pairs) {
  for_vectors(num_pairs, [&](std::int64_t i, int n) {
    const Vec first = load(x + i, n);
    const Vec second = load(x + num_pairs + i, n);
    const Vec c = load(cos + i, n);
    const Vec s = load(sin + i, n);
    store(x + i, first * c - second * s, n);
    store(x + num_pairs + i, second * c + first * s, n);
  });
}

void rotate_neighbours(float* x, const float* cos, const float* sin, std::int64_t num_pairs) {
  for (std::int64_t i = 0; i < num_pairs; ++i) {
    const float first = x[2 * i];
    const float second = x[2 * i + 1];
    x[2 * i] = first * cos[i] - second * sin[i];
    x[2 * i + 1] = second * cos[i] + first * sin[i];
  }
}

void rotate_rows(const RotationTask& task, std::int64_t begin, std::int64_t end) {
  for (std::int64_t row = begin; row < end; ++row) {
    const float* const cos = task.cos + task.table_row[row] * task.num_pairs;
    const float* const sin = task.sin + task.table_row[row] * task.num_pairs;
    for (std::int64_t head = 0; head < task.num_heads; ++head) {
      float* const x = task.x + row * task.row_stride + head * task.head_dim;
      if (task.pairs_neighbours) {
        rotate_neighbours(x, cos, sin, task.num_pairs);
      } else {
        rotate_halves(x, cos, sin, task.num_pairs);
      }
    }
  }
}

}  // namespace

const RowKernels& row_kernels() {
  static constexpr RowKernels kKernels{
      .scale = scale_rows, .norm = norm_rows, .activate = activate_rows, .rotate = rotate_rows};
  return kKernels;
}

}  // namespace limn::LIMN_ISA
