#include "worker/kernels/row_kernel.h"

namespace limn {

// One for each set of instructions that kernels are compiled for.
namespace baseline {
RowKernels row_kernels();
}
#ifdef LIMN_X86_KERNELS
namespace avx2 {
RowKernels row_kernels();
}

namespace avx512 {
RowKernels row_kernels();
}
#endif

const RowKernels& row_kernels() {
  static const RowKernels kernels = [] {
#ifdef LIMN_X86_KERNELS
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
      return avx512::row_kernels();
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
      return avx2::row_kernels();
    }
#endif
    return baseline::row_kernels();
  }();
  return kernels;
}

}  // namespace limn
