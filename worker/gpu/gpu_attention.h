// Attention of the segments of a sweep on a GPU.
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "worker/gpu/gpu_program.h"
#include "worker/suppressed_attention.h"

namespace limn {

// What all layers of a sweep share: which thread block computes which queries, and the factors of
// all keys, on the device. A float32 is multiplied as the sum of `pieces` bfloat16, 1 to 3: an
// error of 2^-(8 pieces) of the factors. Borrows: layout and programs. Threads: one thread at a
// time.
class GpuAttentionPlan {
 public:
  GpuAttentionPlan(
      const SweepLayout& layout,
      std::vector<HeadRun> heads,
      std::int64_t head_dim,
      int pieces,
      at::Device device,
      GpuPrograms& programs = gpu_programs());

  const GpuAttentionVariant& variant() const { return variant_; }

  GpuProgram& program() const { return programs_.attention(variant_); }

  // [keys] float32: of every key of a segment under its perturbation.
  const at::Tensor& factors() const { return factors_; }

  // GpuAttentionTile of a block's queries, as bytes: [tiles, sizeof]. Made when they are first
  // asked for.
  const at::Tensor& tiles(const RowBlock& block, RowSet rows);

 private:
  at::Tensor make_tiles(const RowBlock& block, RowSet rows) const;

  const SweepLayout& layout_;
  std::vector<HeadRun> heads_;
  at::Device device_;
  GpuPrograms& programs_;
  GpuAttentionVariant variant_;
  at::Tensor factors_;
  std::map<std::pair<std::size_t, RowSet>, at::Tensor> tiles_;  // by the block's first segment
};

// One layer's attention on a GPU. Borrows: the plan. Does not wait.
class GpuAttention final : public LayerAttention {
 public:
  GpuAttention(GpuAttentionPlan& plan, AttentionOptions options);

  at::Tensor attend(
      const RowBlock& block,
      RowSet rows,
      const at::Tensor& queries,
      const at::Tensor& keys,
      const at::Tensor& values) override;

 private:
  // [rows, kv_heads, pieces * padded head_dim] bfloat16
  at::Tensor in_pieces(const at::Tensor& heads);

  GpuAttentionPlan& plan_;
  AttentionOptions options_;
  at::Tensor base_keys_;
  at::Tensor base_values_;
};

}  // namespace limn
