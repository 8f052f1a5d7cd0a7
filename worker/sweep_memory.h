// How much memory a sweep takes.
#pragma once

#include <cstdint>

#include <ATen/core/ScalarType.h>

#include "worker/decoder_config.h"
#include "worker/sweep_compute.h"
#include "worker/sweep_layout.h"

namespace limn {

// What the memory of a sweep depends on besides the model. Of blocks the largest of perturbed
// segments, each member by itself.
struct SweepShape {
  std::int64_t longest = 0;  // rows of the longest sample
  std::int64_t base_rows = 0;
  std::int64_t base_target_rows = 0;
  std::int64_t rows = 0;  // of bases and perturbations
  std::int64_t target_rows = 0;
  std::int64_t block_rows = 0;
  std::int64_t base_panels = 0;   // of keys, of all bases
  std::int64_t block_panels = 0;  // of a block's segments
};

SweepShape shape_of(const SweepLayout& layout);

struct SweepMemoryOptions {
  int tensor_parallel = 1;
  int threads = 1;
  at::ScalarType kept = at::kFloat;  // the dtype of the weights in memory
  SweepCompute compute = SweepCompute::Float32;
  bool is_correlated = false;   // Suppression::similarity_threshold > 0
  bool norms_branches = false;  // layers have an attention_out_norm and an mlp_out_norm
};

// The most bytes of tensors that are live at once in SweepEngine::run, from the second sweep of a
// shape on, beyond the weights as they are kept and what the engine is made of. Of tensor rank 0,
// whose share is the largest. Within a tenth of what is allocated on a CPU; small tensors (indices
// of experts, factors) are left out, and the copies of keys that alternative targets share.
std::int64_t sweep_memory(
    const DecoderConfig& config, const SweepShape& shape, const SweepMemoryOptions& options);

}  // namespace limn
