// What happens to rows between two matrix products, on a GPU, each in one pass: as in
// worker/kernels/row_kernel.h. A row is the work of 32 threads or of all 256 of a block.

namespace limn {

namespace {

constexpr int kThreads = 256;

// kCount successive elements.
template <int kCount>
struct Elements {
  float x[kCount];
};

struct alignas(16) FourFloats {
  float x[4];
};

struct alignas(8) FourBfloats {
  unsigned pairs[2];
};

// Where a row of some rows begins.
LIMN_DEVICE long long offset_of(const GpuRows& rows, long long row) {
  const long long index = rows.row != nullptr ? rows.row[row] : row;
  if (rows.group == 1) return index * rows.group_stride;
  return index / rows.group * rows.group_stride + index % rows.group * rows.stride;
}

// Those from element `at` on; 0 where there are no rows.
template <int kCount>
LIMN_DEVICE Elements<kCount> load(const GpuRows& rows, long long at) {
  Elements<kCount> e;
  if (rows.data == nullptr) {
    for (int j = 0; j < kCount; ++j)
      e.x[j] = 0;
    return e;
  }
  if (rows.is_bfloat16) {
    const auto* const from = static_cast<const unsigned short*>(rows.data) + at;
    if constexpr (kCount == 4) {
      const FourBfloats four = *reinterpret_cast<const FourBfloats*>(from);
      for (int j = 0; j < kCount; ++j) {
        const unsigned pair = four.pairs[j / 2];
        e.x[j] = float_of_bits(j % 2 == 0 ? pair << 16 : pair & 0xffff0000U);
      }
    } else {
      e.x[0] = float_of_bits(static_cast<unsigned>(*from) << 16);
    }
    return e;
  }
  const float* const from = static_cast<const float*>(rows.data) + at;
  if constexpr (kCount == 4) {
    const FourFloats four = *reinterpret_cast<const FourFloats*>(from);
    for (int j = 0; j < kCount; ++j)
      e.x[j] = four.x[j];
  } else {
    e.x[0] = *from;
  }
  return e;
}

template <int kCount>
LIMN_DEVICE void store(const GpuRowTask& task, long long row, int i, const Elements<kCount>& e) {
  const long long at = row * task.out_stride + i;
  if (task.out_is_bfloat16) {
    auto* const to = static_cast<unsigned short*>(task.out) + at;
    if constexpr (kCount == 4) {
      FourBfloats four;
      for (int j = 0; j < kCount; j += 2)
        four.pairs[j / 2] = bfloat16_pair(e.x[j], e.x[j + 1]);
      *reinterpret_cast<FourBfloats*>(to) = four;
    } else {
      *to = bfloat16_bits(e.x[0]);
    }
    return;
  }
  float* const to = static_cast<float*>(task.out) + at;
  if constexpr (kCount == 4) {
    FourFloats four;
    for (int j = 0; j < kCount; ++j)
      four.x[j] = e.x[j];
    *reinterpret_cast<FourFloats*>(to) = four;
  } else {
    *to = e.x[0];
  }
}

// A thread's share of a row, and where the row begins in all that the task is about.
struct RowShare {
  bool is_there;
  int thread;  // of the row's
  int slot;    // of the rows that the block computes
  long long row;
  long long x;
  long long base;
  long long minus;
};

LIMN_DEVICE RowShare row_share(const GpuRowTask& task) {
  RowShare share{};
  const int rows_of_block = kThreads / task.threads_per_row;
  share.slot = thread_index() / task.threads_per_row;
  share.thread = thread_index() % task.threads_per_row;
  share.row = static_cast<long long>(block_index()) * rows_of_block + share.slot;
  share.is_there = share.row < task.num_rows;
  if (!share.is_there) return share;
  if (task.order != nullptr) share.row = task.order[share.row];
  share.x = offset_of(task.x, share.row);
  if (task.base.data != nullptr) share.base = offset_of(task.base, share.row);
  if (task.minus.data != nullptr) share.minus = offset_of(task.minus, share.row);
  return share;
}

template <int kCount>
LIMN_DEVICE Elements<kCount> sum(const Elements<kCount>& a, const Elements<kCount>& b) {
  Elements<kCount> e;
  for (int j = 0; j < kCount; ++j)
    e.x[j] = a.x[j] + b.x[j];
  return e;
}

template <int kCount>
LIMN_DEVICE Elements<kCount> difference(const Elements<kCount>& a, const Elements<kCount>& b) {
  Elements<kCount> e;
  for (int j = 0; j < kCount; ++j)
    e.x[j] = a.x[j] - b.x[j];
  return e;
}

// out = e - minus
template <int kCount>
LIMN_DEVICE void finish(
    const GpuRowTask& task, const RowShare& share, int i, const Elements<kCount>& e) {
  store(task, share.row, i, difference(e, load<kCount>(task.minus, share.minus + i)));
}

template <int kCount>
LIMN_DEVICE void scale_row(const GpuRowTask& task, float scale) {
  const RowShare share = row_share(task);
  if (!share.is_there) return;
  for (int i = share.thread * kCount; i < task.width; i += task.threads_per_row * kCount) {
    Elements<kCount> e = load<kCount>(task.x, share.x + i);
    for (int j = 0; j < kCount; ++j)
      e.x[j] *= scale;
    finish(task, share, i, sum(e, load<kCount>(task.base, share.base + i)));
  }
}

LIMN_DEVICE float activation(GpuActivation kind, float v) {
  switch (kind) {
    case GpuActivation::Silu:
      return v / (1 + expf(-v));
    case GpuActivation::GeluTanh:
      return 0.5F * v * (1 + tanhf(0.7978845608028654F * (v + 0.044715F * v * v * v)));
    case GpuActivation::Gelu:
      return 0.5F * v * (1 + erff(v * 0.7071067811865476F));
    case GpuActivation::Relu:
      return v < 0 ? 0 : v;  // a NaN stays one
  }
  return 0;
}

// Of gated values the activation times the gated half.
template <int kCount>
LIMN_DEVICE Elements<kCount> activated(
    GpuActivation kind, bool gated, const Elements<kCount>& v, const Elements<kCount>& w) {
  Elements<kCount> e;
  for (int j = 0; j < kCount; ++j)
    e.x[j] = gated ? activation(kind, v.x[j]) * w.x[j] : activation(kind, v.x[j]);
  return e;
}

template <int kCount>
LIMN_DEVICE void activate_row(const GpuRowTask& task, GpuActivation kind, bool gated) {
  const RowShare share = row_share(task);
  if (!share.is_there) return;
  for (int i = share.thread * kCount; i < task.width; i += task.threads_per_row * kCount) {
    const Elements<kCount> base = load<kCount>(task.base, share.base + i);
    const Elements<kCount> v = sum(load<kCount>(task.x, share.x + i), base);
    Elements<kCount> of_base{};
    Elements<kCount> w{};
    if (gated) {
      of_base = load<kCount>(task.base, share.base + i + task.width);
      w = sum(load<kCount>(task.x, share.x + i + task.width), of_base);
    }
    const Elements<kCount> e = activated(kind, gated, v, w);
    if (task.minus_is_of_base) {
      store(task, share.row, i, difference(e, activated(kind, gated, base, of_base)));
    } else {
      finish(task, share, i, e);
    }
  }
}

// combine(combine(x0, x1), ...) over the threads of a row, in each of them; `combine` is commutative
// and associative. All threads of the block take part.
template <typename Combine>
LIMN_DEVICE float over_row(
    const GpuRowTask& task, float x, float* of_warps, const Combine& combine) {
  for (int mask = 16; mask > 0; mask /= 2)
    x = combine(x, shuffle_xor(x, mask));
  if (task.threads_per_row == 32) return x;
  if (thread_index() % 32 == 0) of_warps[thread_index() / 32] = x;
  sync_threads();
  x = of_warps[0];
  for (int warp = 1; warp < kThreads / 32; ++warp)
    x = combine(x, of_warps[warp]);
  sync_threads();
  return x;
}

LIMN_DEVICE float sum_of_row(const GpuRowTask& task, float x, float* of_warps) {
  return over_row(task, x, of_warps, [](float a, float b) { return a + b; });
}

LIMN_DEVICE float largest_of_row(const GpuRowTask& task, float x, float* of_warps) {
  return over_row(task, x, of_warps, [](float a, float b) { return fmaxf(a, b); });
}

// Shared memory: one float for each warp, then the rows' values.
template <int kCount>
LIMN_DEVICE void norm_row(const GpuRowTask& task, const GpuNorm& norm) {
  const RowShare share = row_share(task);
  auto* const of_warps = reinterpret_cast<float*>(shared_memory());
  float* const values = of_warps + kThreads / 32 + share.slot * task.width;
  const int begin = share.is_there ? share.thread * kCount : task.width;
  const int step = task.threads_per_row * kCount;

  float total = 0;
  for (int i = begin; i < task.width; i += step) {
    const Elements<kCount> e =
        sum(load<kCount>(task.x, share.x + i), load<kCount>(task.base, share.base + i));
    for (int j = 0; j < kCount; ++j) {
      values[i + j] = e.x[j];
      total += e.x[j];
    }
  }
  const auto width = static_cast<float>(task.width);
  const float mean = norm.subtracts_mean ? sum_of_row(task, total, of_warps) / width : 0;
  float squares = 0;
  for (int i = begin; i < task.width; i += step) {
    for (int j = 0; j < kCount; ++j) {
      const float centred = values[i + j] - mean;
      squares += centred * centred;
    }
  }
  const float variance = sum_of_row(task, squares, of_warps) / width;
  const float scale = 1 / sqrtf(variance + norm.epsilon);
  for (int i = begin; i < task.width; i += step) {
    Elements<kCount> e;
    for (int j = 0; j < kCount; ++j) {
      e.x[j] = (values[i + j] - mean) * scale;
      if (norm.weight != nullptr) e.x[j] *= norm.weight[i + j];
      if (norm.bias != nullptr) e.x[j] += norm.bias[i + j];
    }
    finish(task, share, i, e);
  }
}

// Reads the row twice: a wide one does not fit into the shared memory of every GPU that has float8.
// Shared memory: one float for each warp. Of a row of zeros the scale is 1.
LIMN_DEVICE void scale_row_to_float8(const GpuRowTask& task, float* scales) {
  constexpr float kLargestFloat8 = 448;
  constexpr float kSmallestScale = 1.1754944e-38F;  // the smallest normal float32
  constexpr int kCount = 4;
  const RowShare share = row_share(task);
  auto* const of_warps = reinterpret_cast<float*>(shared_memory());
  const int begin = share.is_there ? share.thread * kCount : task.width;
  const int step = task.threads_per_row * kCount;
  float largest = 0;
  for (int i = begin; i < task.width; i += step) {
    const Elements<kCount> e = load<kCount>(task.x, share.x + i);
    for (int j = 0; j < kCount; ++j)
      largest = fmaxf(largest, fabsf(e.x[j]));
  }
  largest = largest_of_row(task, largest, of_warps);
  const float scale = largest > 0 ? fmaxf(largest / kLargestFloat8, kSmallestScale) : 1;
  if (share.is_there && share.thread == 0) scales[share.row] = scale;
  auto* const to = static_cast<unsigned short*>(task.out) + share.row * task.out_stride / 2;
  for (int i = begin; i < task.width; i += step) {
    const Elements<kCount> e = load<kCount>(task.x, share.x + i);
    for (int j = 0; j < kCount; j += 2)
      to[(i + j) / 2] = float8_pair(e.x[j] / scale, e.x[j + 1] / scale);
  }
}

}  // namespace

// `out` is float8 e4m3, a row's values less its scale; widths are multiples of 4.
LIMN_KERNEL void limn_scale_to_float8(GpuRowTask task, float* scales) {
  scale_row_to_float8(task, scales);
}

LIMN_KERNEL void limn_scale(GpuRowTask task, float scale) {
  if (task.is_vectorizable) {
    scale_row<4>(task, scale);
  } else {
    scale_row<1>(task, scale);
  }
}

LIMN_KERNEL void limn_activate(GpuRowTask task, GpuActivation kind, int gated) {
  if (task.is_vectorizable) {
    activate_row<4>(task, kind, gated != 0);
  } else {
    activate_row<1>(task, kind, gated != 0);
  }
}

LIMN_KERNEL void limn_norm(GpuRowTask task, GpuNorm norm) {
  if (task.is_vectorizable) {
    norm_row<4>(task, norm);
  } else {
    norm_row<1>(task, norm);
  }
}

// One pair of dimensions of a head for each thread.
LIMN_KERNEL void limn_rotate(GpuRotationTask task) {
  const long long i = static_cast<long long>(block_index()) * kThreads + thread_index();
  const int pair = static_cast<int>(i % task.num_pairs);
  const int head = static_cast<int>(i / task.num_pairs % task.num_heads);
  const long long row = i / task.num_pairs / task.num_heads;
  if (row >= task.num_rows) return;
  const int first = task.pairs_neighbours ? 2 * pair : pair;
  const int second = task.pairs_neighbours ? 2 * pair + 1 : pair + task.num_pairs;
  float* const x = task.x + row * task.row_stride + static_cast<long long>(head) * task.head_dim;
  const long long angle = task.table_row[row] * task.num_pairs + pair;
  const float c = task.cos[angle];
  const float s = task.sin[angle];
  const float a = x[first];
  const float b = x[second];
  x[first] = a * c - b * s;
  x[second] = b * c + a * s;
}

}  // namespace limn
