#include "worker/kernels/cpu_kernels.h"

namespace limn {

// One for each set of instructions that kernels are compiled for.
namespace baseline {
AttentionKernels attention_kernels();
}
#ifdef LIMN_X86_KERNELS
namespace avx2 {
AttentionKernels attention_kernels();
}

namespace avx512 {
AttentionKernels attention_kernels();
}
#endif

const AttentionKernels& attention_kernels() {
  static const AttentionKernels kernels = [] {
#ifdef LIMN_X86_KERNELS
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
      return avx512::attention_kernels();
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
      return avx2::attention_kernels();
    }
#endif
    return baseline::attention_kernels();
  }();
  return kernels;
}

}  // namespace limn
