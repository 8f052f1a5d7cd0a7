#include "worker/kernels/cpu_kernels.h"

namespace limn {

// One for each set of instructions that kernels are compiled for.
namespace baseline {
const AttentionKernels& attention_kernels();
}
#ifdef LIMN_X86_KERNELS
namespace avx2 {
const AttentionKernels& attention_kernels();
}

namespace avx512 {
const AttentionKernels& attention_kernels();
}
#endif

const AttentionKernels* attention_kernels(InstructionSet instructions) {
  switch (instructions) {
    case InstructionSet::Baseline:
      return &baseline::attention_kernels();
#ifdef LIMN_X86_KERNELS
    case InstructionSet::Avx2:
      if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        return &avx2::attention_kernels();
      }
      return nullptr;
    case InstructionSet::Avx512:
      if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
        return &avx512::attention_kernels();
      }
      return nullptr;
#endif
    default:
      return nullptr;
  }
}

const AttentionKernels& attention_kernels() {
  for (const auto instructions : {InstructionSet::Avx512, InstructionSet::Avx2}) {
    const AttentionKernels* const kernels = attention_kernels(instructions);
    if (kernels != nullptr) return *kernels;
  }
  return baseline::attention_kernels();
}

}  // namespace limn
