#include "worker/kernels/attention_kernel.h"

#include "worker/kernels/cpu_kernels.h"
#include "worker/kernels/vector.h"

namespace limn::LIMN_ISA {

namespace {

constexpr std::int64_t min(std::int64_t a, std::int64_t b) {
  return a < b ? a : b;
}

constexpr std::int64_t max(std::int64_t a, std::int64_t b) {
  return a > b ? a : b;
}

std::int64_t round_up(std::int64_t n, std::int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

// c [R, V vectors] (+)= a [R, depth] b [depth, V vectors]; the strides are in floats.
struct Product {
  const float* a;
  std::int64_t a_stride;
  const float* b;
  std::int64_t b_stride;
  std::int64_t depth;
  float* c;
  std::int64_t c_stride;
  bool adds;
};

template <int R, int V>
void multiply_tile(const Product& p) {
  Vec sums[R][V];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v)
      sums[r][v] = p.adds ? load(p.c + r * p.c_stride + v * kWidth) : Vec{};
  }
  for (std::int64_t k = 0; k < p.depth; ++k) {
    Vec b[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v)
      b[v] = load(p.b + k * p.b_stride + v * kWidth);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const Vec a = splat(p.a[r * p.a_stride + k]);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v)
        sums[r][v] += a * b[v];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v)
      store(p.c + r * p.c_stride + v * kWidth, sums[r][v]);
  }
}

template <int V>
void multiply_rows(const Product& p, std::int64_t rows) {
  switch (rows) {
    case 1:
      return multiply_tile<1, V>(p);
    case 2:
      return multiply_tile<2, V>(p);
    case 3:
      return multiply_tile<3, V>(p);
    case 4:
      return multiply_tile<4, V>(p);
    case 5:
      return multiply_tile<5, V>(p);
    default:
      return multiply_tile<kTileRows, V>(p);
  }
}

// Of any number of rows and of at most kTileVectors vectors.
void multiply(Product p, std::int64_t rows, std::int64_t vectors) {
  for (std::int64_t row = 0; row < rows; row += kTileRows) {
    const std::int64_t count = min(kTileRows, rows - row);
    switch (vectors) {
      case 1:
        multiply_rows<1>(p, count);
        break;
      case 2:
        multiply_rows<2>(p, count);
        break;
      case 3:
        multiply_rows<min(3, kTileVectors)>(p, count);
        break;
      default:
        multiply_rows<kTileVectors>(p, count);
        break;
    }
    p.a += kTileRows * p.a_stride;
    p.c += kTileRows * p.c_stride;
  }
}

// Half-open range of keys.
struct Keys {
  std::int64_t begin;
  std::int64_t end;
};

// A tile under way. Queries are ordered by row, then by head; `first_key` is that of a panel.
struct Tile {
  const AttentionTask& task;
  std::int64_t num_queries;
  std::int64_t first_key;
  std::int64_t num_logits;  // of a query: up to the end of the last panel
  float* queries;           // [num_queries, head_dim], scaled
  float* logits;            // [num_queries, num_logits]; then the softmax's numerators
  float* sums;              // [num_queries], the softmax's denominators
  float* outputs;           // [num_queries, value_width]

  std::int64_t position(std::int64_t query) const {
    return task.first_position + query / task.num_heads;
  }

  std::int64_t head(std::int64_t query) const { return query % task.num_heads; }

  Keys visible(std::int64_t query) const {
    const std::int64_t end = position(query) + 1;
    return {task.window > 0 ? max(end - task.window, 0) : 0, end};
  }

  // Behind the last key that any row sees.
  std::int64_t visible_end() const { return task.first_position + task.num_rows; }
};

bool wants_all_keys(const AttentionTask& task) {
  return task.rule == SuppressionRule::ShiftedFull && task.factors.count > 0;
}

// The keys for which a tile needs logits, from the first key of a panel on.
Keys keys_of(const AttentionTask& task) {
  if (wants_all_keys(task)) return {0, task.num_keys};
  const std::int64_t begin = task.window > 0 ? max(task.first_position + 1 - task.window, 0) : 0;
  return {begin / kPanel * kPanel, task.first_position + task.num_rows};
}

void gather_queries(const Tile& tile) {
  const AttentionTask& task = tile.task;
  for (std::int64_t query = 0; query < tile.num_queries; ++query) {
    const float* const from = task.queries + query / task.num_heads * task.query_stride +
                              tile.head(query) * task.head_dim;
    float* const to = tile.queries + query * task.head_dim;
    for (std::int64_t i = 0; i < task.head_dim; ++i)
      to[i] = from[i] * task.scale;
  }
}

void compute_logits(const Tile& tile, const Keys& keys) {
  const AttentionTask& task = tile.task;
  for (std::int64_t key = keys.begin; key < keys.end; key += kPanel) {
    const std::int64_t panel = key / kPanel;
    const KeyValuePanels& from = panel < task.own.first_panel ? task.base : task.own;
    const std::int64_t vectors = (min(kPanel, keys.end - key) + kWidth - 1) / kWidth;
    multiply(
        {.a = tile.queries,
         .a_stride = task.head_dim,
         .b = from.keys + (panel - from.first_panel) * task.head_dim * kPanel,
         .b_stride = kPanel,
         .depth = task.head_dim,
         .c = tile.logits + key - tile.first_key,
         .c_stride = tile.num_logits,
         .adds = false},
        tile.num_queries,
        vectors);
  }
}

float smallest(const float* logits, const Keys& keys) {
  float result = kInfinity;
  for (std::int64_t key = keys.begin; key < keys.end; ++key)
    result = logits[key] < result ? logits[key] : result;
  return result;
}

// Of the suppressed keys that the row sees. `logits` is indexed by position.
void suppress(const AttentionTask& task, const Keys& visible, float* logits) {
  float m = 0;
  if (task.rule == SuppressionRule::Shifted) m = smallest(logits, visible);
  if (task.rule == SuppressionRule::ShiftedFull) m = smallest(logits, {0, task.num_keys});
  for (std::int64_t i = 0; i < task.factors.count; ++i) {
    const std::int64_t key = task.factors.positions[i];
    if (key < visible.begin || key >= visible.end) continue;
    const float f = task.factors.factors[i];
    float& s = logits[key];
    switch (task.rule) {
      case SuppressionRule::LogAdditive:
        s += __builtin_logf(f);
        break;
      case SuppressionRule::Multiplicative:
        s *= f;
        break;
      case SuppressionRule::Shifted:
      case SuppressionRule::ShiftedFull:
        s = m + f * (s - m);
        break;
    }
  }
}

// Turns the raw logits of a query into the softmax's numerators.
void finish_logits(const Tile& tile, std::int64_t query) {
  const AttentionTask& task = tile.task;
  const Keys visible = tile.visible(query);
  float* const row = tile.logits + query * tile.num_logits;
  float* const by_position = row - tile.first_key;
  const Keys needed = wants_all_keys(task) ? Keys{0, task.num_keys} : visible;

  if (task.key_bias != nullptr) {
    const float* const bias = task.key_bias + tile.head(query) * task.key_bias_stride;
    for (std::int64_t key = needed.begin; key < needed.end; ++key)
      by_position[key] += bias[key];
  }
  if (task.softcap > 0) {
    for (std::int64_t i = 0; i < needed.end - tile.first_key; i += kWidth) {
      store(row + i, task.softcap * tanh(load(row + i) / task.softcap));
    }
  }
  if (task.factors.count > 0) suppress(task, visible, by_position);

  const std::int64_t end = round_up(tile.visible_end() - tile.first_key, kWidth);
  for (std::int64_t i = 0; i < visible.begin - tile.first_key; ++i)
    row[i] = -kInfinity;
  for (std::int64_t i = visible.end - tile.first_key; i < end; ++i)
    row[i] = -kInfinity;

  Vec highest = splat(-kInfinity);
  for (std::int64_t i = 0; i < end; i += kWidth)
    highest = larger(highest, load(row + i));
  float m = largest(highest);
  const float* const sink = task.sinks != nullptr ? task.sinks + tile.head(query) : nullptr;
  if (sink != nullptr && *sink > m) m = *sink;
  // A row whose visible keys are all hidden: any finite value makes all numerators 0.
  if (m == -kInfinity) m = 0;
  Vec total{};
  for (std::int64_t i = 0; i < end; i += kWidth) {
    const Vec e = exp(load(row + i) - m);
    store(row + i, e);
    total += e;
  }
  tile.sums[query] = sum(total);
  if (sink != nullptr) tile.sums[query] += exp(splat(*sink - m))[0];
}

void compute_outputs(const Tile& tile) {
  const AttentionTask& task = tile.task;
  const std::int64_t width = round_up(task.head_dim, kWidth);
  const std::int64_t own_begin = task.own.first_panel * kPanel;
  for (std::int64_t column = 0; column < width; column += kPanel) {
    const std::int64_t vectors = min(kPanel, width - column) / kWidth;
    bool adds = false;
    const auto add_keys = [&](const KeyValuePanels& from, const Keys& keys) {
      if (keys.begin >= keys.end) return;
      multiply(
          {.a = tile.logits + keys.begin - tile.first_key,
           .a_stride = tile.num_logits,
           .b = from.values + (keys.begin - from.first_panel * kPanel) * width + column,
           .b_stride = width,
           .depth = keys.end - keys.begin,
           .c = tile.outputs + column,
           .c_stride = width,
           .adds = adds},
          tile.num_queries,
          vectors);
      adds = true;
    };
    add_keys(task.base, {tile.first_key, min(own_begin, tile.visible_end())});
    add_keys(task.own, {max(own_begin, tile.first_key), tile.visible_end()});
  }
}

void scatter_outputs(const Tile& tile) {
  const AttentionTask& task = tile.task;
  const std::int64_t width = round_up(task.head_dim, kWidth);
  for (std::int64_t query = 0; query < tile.num_queries; ++query) {
    const float* const from = tile.outputs + query * width;
    float* const to = task.output + query / task.num_heads * task.output_stride +
                      tile.head(query) * task.head_dim;
    const float total = tile.sums[query];
    const float scale = total > 0 ? 1 / total : 0;
    for (std::int64_t i = 0; i < task.head_dim; ++i)
      to[i] = from[i] * scale;
  }
}

std::int64_t attention_scratch(std::int64_t queries, std::int64_t head_dim, std::int64_t num_keys) {
  return queries * (head_dim + round_up(num_keys, kPanel) + round_up(head_dim, kWidth) + 1);
}

void attend(const AttentionTask& task, float* scratch) {
  const Keys keys = keys_of(task);
  const std::int64_t num_queries = task.num_rows * task.num_heads;
  const std::int64_t num_logits = round_up(keys.end - keys.begin, kPanel);
  float* const logits = scratch + num_queries * task.head_dim;
  float* const sums = logits + num_queries * num_logits;
  const Tile tile{
      .task = task,
      .num_queries = num_queries,
      .first_key = keys.begin,
      .num_logits = num_logits,
      .queries = scratch,
      .logits = logits,
      .sums = sums,
      .outputs = sums + num_queries};
  gather_queries(tile);
  compute_logits(tile, keys);
  for (std::int64_t query = 0; query < num_queries; ++query)
    finish_logits(tile, query);
  compute_outputs(tile);
  scatter_outputs(tile);
}

void pack(const PackTask& task) {
  const std::int64_t width = round_up(task.head_dim, kWidth);
  const std::int64_t first = task.panels.first_panel * kPanel;
  for (std::int64_t i = 0; i < task.num_positions; ++i) {
    const std::int64_t place = task.first_position + i - first;
    float* const keys = task.panels.keys + place / kPanel * task.head_dim * kPanel + place % kPanel;
    const float* const from = task.keys + i * task.key_stride;
    for (std::int64_t d = 0; d < task.head_dim; ++d)
      keys[d * kPanel] = from[d];

    float* const values = task.panels.values + place * width;
    const float* const from_values = task.values + i * task.value_stride;
    for (std::int64_t d = 0; d < task.head_dim; ++d)
      values[d] = from_values[d];
    for (std::int64_t d = task.head_dim; d < width; ++d)
      values[d] = 0;
  }
}

void share_first_panel(
    const KeyValuePanels& base, const KeyValuePanels& own, std::int64_t head_dim) {
  const std::int64_t panel = own.first_panel - base.first_panel;
  const std::int64_t key_floats = head_dim * kPanel;
  const std::int64_t value_floats = round_up(head_dim, kWidth) * kPanel;
  const auto copy = [](float* to, const float* from, std::int64_t floats) {
    __builtin_memcpy(to, from, static_cast<std::size_t>(floats) * sizeof(float));
  };
  copy(own.keys, base.keys + panel * key_floats, key_floats);
  copy(own.values, base.values + panel * value_floats, value_floats);
}

}  // namespace

const AttentionKernels& attention_kernels() {
  static constexpr AttentionKernels kKernels{
      .panel = kPanel,
      .width = kWidth,
      .scratch = attention_scratch,
      .pack = pack,
      .share_first_panel = share_first_panel,
      .attend = attend};
  return kKernels;
}

}  // namespace limn::LIMN_ISA
