// The kernels for this machine's processor.
#pragma once

#include <cstdint>

#include "worker/kernels/attention_kernel.h"
#include "worker/kernels/row_kernel.h"

namespace limn {

// Threads: pure functions of what they are given.
struct AttentionKernels {
  std::int64_t panel = 0;  // positions of a panel of keys
  std::int64_t width = 0;  // of values: a multiple of this

  // Floats that attend() needs besides for `queries` = rows * heads queries.
  std::int64_t (*scratch)(std::int64_t queries, std::int64_t head_dim, std::int64_t num_keys);

  // Writes positions into panels; the rest of the panels keeps what it was.
  void (*pack)(const PackTask& task);

  // Copies the base's panel that holds the own panels' first position to its place among them.
  void (*share_first_panel)(
      const KeyValuePanels& base, const KeyValuePanels& own, std::int64_t head_dim);

  // The attention of the task's rows: softmax over the keys that a row sees, each logit after
  // scaling, position bias and soft-capping changed by its factor; 0 for a row whose visible keys
  // are all hidden.
  void (*attend)(const AttentionTask& task, float* scratch);
};

// Each computes the rows [begin, end). Threads: pure functions of what they are given.
struct RowKernels {
  void (*scale)(const RowTask&, const ScaleFunction&, std::int64_t begin, std::int64_t end);
  void (*norm)(const RowTask&, const NormFunction&, std::int64_t begin, std::int64_t end);
  void (*activate)(const RowTask&, const ActivationFunction&, std::int64_t begin, std::int64_t end);
  void (*rotate)(const RotationTask&, std::int64_t begin, std::int64_t end);
};

// What kernels are compiled for, from the narrowest vectors to the widest.
enum class InstructionSet { Baseline, Avx2, Avx512 };

// Those of one instruction set; null where the processor lacks it.
const AttentionKernels* attention_kernels(InstructionSet instructions);
const RowKernels* row_kernels(InstructionSet instructions);

// Those of the widest vectors that the processor has.
const AttentionKernels& attention_kernels();
const RowKernels& row_kernels();

}  // namespace limn
