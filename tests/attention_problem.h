// What tests of attention share: sweeps of some samples, random queries, keys and values, and the
// attention of one full matrix of logits in float64 to compare with.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/random_tensor.h"
#include "worker/suppressed_attention.h"

namespace limn::test {

inline constexpr float kInfinity = std::numeric_limits<float>::infinity();
inline constexpr SuppressionKind kKinds[] = {
    SuppressionKind::LogAdditive,
    SuppressionKind::Multiplicative,
    SuppressionKind::Shifted,
    SuppressionKind::ShiftedFull};

// A sample of so many tokens, and the factors of its perturbations.
struct Sample {
  std::int64_t length = 0;
  std::int64_t num_targets = 1;
  std::vector<KeyFactors> factors;
  std::optional<std::size_t> stem;
};

inline SweepLayout lay_out(const std::vector<Sample>& samples, std::int64_t block_rows) {
  Batch batch;
  std::vector<std::vector<KeyFactors>> factors;
  for (const Sample& sample : samples) {
    BatchPiece& piece = batch.pieces.emplace_back();
    const auto length = static_cast<std::size_t>(sample.length);
    piece.tokens.assign(length, 1);
    piece.target_ids.assign(static_cast<std::size_t>(sample.num_targets), 1);
    piece.prompt_length = sample.length + 1 - sample.num_targets;
    piece.perturbations.resize(sample.factors.size());
    piece.stem = sample.stem;
    factors.push_back(sample.factors);
  }
  return lay_out_sweep(batch, factors, block_rows);
}

// Queries, keys and values of all packed rows, [rows, heads, head_dim] float64.
struct Projected {
  at::Tensor queries, keys, values;
};

// All blocks of a sweep through an attention whose tensors are on `device`: [rows, heads *
// head_dim], of all packed rows or of all target rows.
inline at::Tensor attention_of_all_blocks(
    LayerAttention& attention,
    const SweepLayout& layout,
    const Projected& projected,
    RowSet rows,
    at::Device device = at::kCPU) {
  // Side by side, as one product makes them.
  const at::Tensor all =
      at::cat({projected.queries, projected.keys, projected.values}, 1).to(device, at::kFloat);
  const std::int64_t heads = projected.queries.size(1);
  const std::int64_t kv_heads = projected.keys.size(1);
  std::vector<at::Tensor> outputs;
  for (const RowBlock& block : layout.blocks) {
    const std::vector<at::Tensor> qkv = all.narrow(0, block.rows.begin, block.rows.size())
                                            .split_with_sizes({heads, kv_heads, kv_heads}, 1);
    at::Tensor queries = qkv[0];
    if (rows == RowSet::Targets) {
      const at::Tensor target_row =
          layout.target_row.narrow(0, block.target_rows.begin, block.target_rows.size());
      queries = queries.index_select(0, (target_row - block.rows.begin).to(device));
    }
    const auto keys_of = [&](const at::Tensor& of_rows) {
      if (!block.shares_rows()) return of_rows;
      const at::Tensor key_row =
          layout.key_row.narrow(0, block.keys.begin, block.keys.size()) - block.rows.begin;
      return of_rows.index_select(0, key_row.to(device));
    };
    outputs.push_back(attention.attend(block, rows, queries, keys_of(qkv[1]), keys_of(qkv[2])));
  }
  return at::cat(outputs).to(at::kCPU);
}

// The rows of a segment among all packed rows.
inline at::Tensor rows_of(const Segment& segment, const at::Tensor& all) {
  return all.narrow(0, segment.packed_begin, segment.num_rows());
}

// One full matrix of logits for each segment, in float64.
class DenseAttention {
 public:
  DenseAttention(
      const SweepLayout& layout, const AttentionOptions& options, const Projected& projected)
      : layout_(layout),
        options_(options),
        projected_(projected) {
    for (const HeadRun& run : options.heads) {
      for (std::int64_t head = 0; head < run.num_query_heads(); ++head)
        kv_head_.push_back(run.kv_begin + head / run.queries_per_kv);
    }
  }

  // [packed rows, heads * head_dim]
  at::Tensor output() const {
    std::vector<at::Tensor> outputs;
    for (const Segment& segment : layout_.segments)
      outputs.push_back(output_of(segment).flatten(1));
    return at::cat(outputs);
  }

 private:
  // What the segment's rows see: the base's keys or values up to its first one, then its own.
  // [heads, keys, head_dim]
  at::Tensor seen_by(const Segment& segment, const at::Tensor& all) const {
    const auto keys_of = [&](const Segment& of) {
      return all.index_select(0, layout_.key_row.narrow(0, of.key_packed_begin, of.num_keys()));
    };
    const Segment& base = layout_.segments[segment.sample];
    return at::cat({keys_of(base).narrow(0, 0, segment.key_begin), keys_of(segment)})
        .transpose(0, 1)
        .index_select(0, at::tensor(kv_head_, at::kLong));
  }

  at::Tensor output_of(const Segment& segment) const {
    const at::Tensor q = rows_of(segment, projected_.queries).transpose(0, 1);
    at::Tensor s =
        at::matmul(q, seen_by(segment, projected_.keys).transpose(1, 2)) * options_.scale;
    if (options_.key_bias.defined()) {
      s = s + options_.key_bias.narrow(1, 0, segment.row_end).to(at::kDouble).unsqueeze(1);
    }
    if (options_.softcap > 0) s = options_.softcap * (s / options_.softcap).tanh();

    const at::Tensor row = at::arange(segment.row_begin, segment.row_end).unsqueeze(1);
    const at::Tensor key = at::arange(segment.row_end);
    at::Tensor unseen = key > row;
    if (options_.window > 0) unseen = unseen | (key <= row - options_.window);
    s = suppressed(s, segment, unseen).masked_fill(unseen, -kInfinity);
    return at::matmul(softmax(s), seen_by(segment, projected_.values)).transpose(0, 1);
  }

  at::Tensor suppressed(
      const at::Tensor& s, const Segment& segment, const at::Tensor& unseen) const {
    const KeyFactors& factors = segment.factors;
    at::Tensor f = at::ones({segment.row_end}, at::kDouble);
    for (std::size_t i = 0; i < factors.positions.size(); ++i)
      f[factors.positions[i]] = factors.factors[i];
    if (options_.suppression == SuppressionKind::LogAdditive) return s + f.log();
    if (options_.suppression == SuppressionKind::Multiplicative) return s * f;
    const at::Tensor counted =
        options_.suppression == SuppressionKind::Shifted ? s.masked_fill(unseen, kInfinity) : s;
    const at::Tensor m = counted.amin(-1, /*keepdim=*/true);
    return m + f * (s - m);
  }

  at::Tensor softmax(const at::Tensor& s) const {
    if (!options_.sinks.defined()) {
      const at::Tensor all_hidden = (s == -kInfinity).all(-1, /*keepdim=*/true);
      return at::where(all_hidden, 0.0, at::softmax(s, -1));
    }
    const at::Tensor sink =
        options_.sinks.to(at::kDouble).view({-1, 1, 1}).expand({-1, s.size(1), 1});
    return at::softmax(at::cat({s, sink}, -1), -1).narrow(-1, 0, s.size(2));
  }

  const SweepLayout& layout_;
  const AttentionOptions& options_;
  const Projected& projected_;
  std::vector<std::int64_t> kv_head_;  // of each query head
};

// Random queries, keys and values for some heads, which make attention neither flat nor sharp.
class Problem {
 public:
  Problem(SweepLayout sweep, std::vector<HeadRun> heads, std::int64_t head_dim)
      : layout(std::move(sweep)),
        num_heads(heads.back().query_begin + heads.back().num_query_heads()) {
    const std::int64_t num_kv_heads = heads.back().kv_begin + heads.back().num_kv_heads;
    options.heads = std::move(heads);
    options.scale = 1.7 / std::sqrt(static_cast<double>(head_dim));
    projected.queries = random_tensor({layout.num_rows, num_heads, head_dim}, 1) * 1.5;
    projected.keys = random_tensor({layout.num_rows, num_kv_heads, head_dim}, 2);
    projected.values = random_tensor({layout.num_rows, num_kv_heads, head_dim}, 3);
  }

  Problem& with(SuppressionKind kind, std::int64_t window = 0) {
    options.suppression = kind;
    options.window = window;
    return *this;
  }

  Problem& with_softcap() {
    options.softcap = 1.5;
    return *this;
  }

  Problem& with_key_bias() {
    std::int64_t longest = 0;
    for (const Segment& segment : layout.segments)
      longest = std::max(longest, segment.row_end);
    options.key_bias = random_tensor({num_heads, longest}, 4).to(at::kFloat);
    return *this;
  }

  Problem& with_sinks() {
    options.sinks = random_tensor({num_heads}, 5).to(at::kFloat);
    return *this;
  }

  at::Tensor dense() const { return DenseAttention(layout, options, projected).output(); }

  SweepLayout layout;
  std::int64_t num_heads;
  AttentionOptions options;
  Projected projected;
};

// Hidden, weakened and amplified keys, the first and the last among them; a whole window of hidden
// ones; segments that begin one before, at and one behind the start of a panel of any width;
// another target behind the first prompt, of whose 146 rows it has its own with its last
// perturbation only.
inline std::vector<Sample> some_samples() {
  return {
      {.length = 150,
       .num_targets = 4,
       .factors =
           {{{0, 1, 70, 149}, {0.0F, 0.5F, 3.0F, 0.25F}},
            {{40, 41, 42, 43, 44, 45, 46, 90}, {0.0F, 0.0F, 0.0F, 0.0F, 0.0F, 0.0F, 0.0F, 0.5F}},
            {{63, 80}, {0.5F, 0.0F}},
            {{64}, {0.1F}}}},
      {.length = 1, .factors = {{{0}, {0.5F}}}},
      {.length = 70, .num_targets = 2, .factors = {{{65}, {0.0F}}, {{3, 5}, {0.0F, 2.0F}}}},
      {.length = 153,
       .num_targets = 7,
       .factors =
           {{{64}, {0.1F}},
            {{0, 1, 70, 150, 151}, {0.0F, 0.5F, 3.0F, 0.0F, 2.0F}},
            {{148, 150}, {0.0F, 0.5F}},
            {{7, 90}, {0.0F, 0.5F}}},
       .stem = 0}};
}

inline constexpr std::int64_t kBlockRows = 100;  // four blocks of some_samples()

// ---- What holds for every attention, given as what it makes of a problem's rows ----

using Attend = std::function<at::Tensor(const Problem&, RowSet)>;

inline void expect_targets_alone_as_among_all(
    const Attend& attend, const std::vector<std::int64_t>& windows) {
  Problem problem(lay_out(some_samples(), kBlockRows), {{0, 2, 0, 2}}, 6);
  for (const SuppressionKind kind : kKinds) {
    for (const std::int64_t window : windows) {
      problem.with(kind, window);
      EXPECT_TRUE(at::equal(
          attend(problem, RowSet::Targets),
          attend(problem, RowSet::All).index_select(0, problem.layout.target_row)))
          << static_cast<int>(kind);
    }
  }
}

inline void expect_zero_where_a_window_has_hidden_keys_alone(const Attend& attend) {
  // The second perturbation hides keys 40 to 46: with a window of five, all that rows 44 to 46 see.
  Problem problem(lay_out(some_samples(), kBlockRows), {{0, 2, 0, 2}}, 6);
  for (const bool has_sinks : {false, true}) {
    if (has_sinks) problem.with_sinks();
    const at::Tensor output = attend(problem.with(SuppressionKind::LogAdditive, 5), RowSet::All);
    const Segment& segment = problem.layout.segments[*problem.layout.segment_of[0][1]];
    for (std::int64_t row = 40; row < 52; ++row) {
      const at::Tensor of_row = output[segment.packed_begin + row - segment.row_begin];
      EXPECT_EQ(of_row.eq(0).all().item<bool>(), row >= 44 && row <= 46) << row;
    }
  }
}

inline void expect_a_nan_out_in_its_row_alone(const Attend& attend) {
  Problem problem(lay_out(some_samples(), kBlockRows), {{0, 2, 0, 2}}, 6);
  const at::Tensor expected = attend(problem, RowSet::All);
  // Rows that see one key, some and many.
  for (const std::int64_t row : {0, 7, 140}) {
    Problem broken = problem;
    broken.projected.queries = problem.projected.queries.clone();
    broken.projected.queries[row].fill_(std::numeric_limits<float>::quiet_NaN());
    at::Tensor got = attend(broken, RowSet::All);
    EXPECT_TRUE(got[row].isnan().all().item<bool>()) << got[row];
    got[row].copy_(expected[row]);
    EXPECT_TRUE(at::equal(got, expected)) << row;
  }
}

}  // namespace limn::test
