#include "worker/kernels/cpu_kernels.h"

namespace limn {

// One for each set of instructions that kernels are compiled for.
namespace baseline {
const AttentionKernels& attention_kernels();
const RowKernels& row_kernels();
}  // namespace baseline
#ifdef LIMN_X86_KERNELS
namespace avx2 {
const AttentionKernels& attention_kernels();
const RowKernels& row_kernels();
}  // namespace avx2

namespace avx512 {
const AttentionKernels& attention_kernels();
const RowKernels& row_kernels();
}  // namespace avx512
#endif

namespace {

bool has(InstructionSet instructions) {
#ifdef LIMN_X86_KERNELS
  switch (instructions) {
    case InstructionSet::Baseline:
      return true;
    case InstructionSet::Avx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case InstructionSet::Avx512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  }
#endif
  return instructions == InstructionSet::Baseline;
}

InstructionSet widest() {
  for (const auto instructions : {InstructionSet::Avx512, InstructionSet::Avx2}) {
    if (has(instructions)) return instructions;
  }
  return InstructionSet::Baseline;
}

}  // namespace

const AttentionKernels* attention_kernels(InstructionSet instructions) {
  if (!has(instructions)) return nullptr;
#ifdef LIMN_X86_KERNELS
  if (instructions == InstructionSet::Avx512) return &avx512::attention_kernels();
  if (instructions == InstructionSet::Avx2) return &avx2::attention_kernels();
#endif
  return &baseline::attention_kernels();
}

const RowKernels* row_kernels(InstructionSet instructions) {
  if (!has(instructions)) return nullptr;
#ifdef LIMN_X86_KERNELS
  if (instructions == InstructionSet::Avx512) return &avx512::row_kernels();
  if (instructions == InstructionSet::Avx2) return &avx2::row_kernels();
#endif
  return &baseline::row_kernels();
}

const AttentionKernels& attention_kernels() {
  static const AttentionKernels& kernels = *attention_kernels(widest());
  return kernels;
}

const RowKernels& row_kernels() {
  static const RowKernels& kernels = *row_kernels(widest());
  return kernels;
}

}  // namespace limn
