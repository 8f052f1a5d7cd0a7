// The instructions of a GPU (sm_80 and later) that the kernels are written in. PTX ISA 9.0.

#define LIMN_DEVICE __device__ __forceinline__
#define LIMN_SLOW_DEVICE __device__ __noinline__
#define LIMN_KERNEL extern "C" __global__

namespace limn {

LIMN_DEVICE int block_index() {
  return static_cast<int>(blockIdx.x);
}

LIMN_DEVICE int thread_index() {
  return static_cast<int>(threadIdx.x);
}

LIMN_DEVICE void sync_threads() {
  __syncthreads();
}

LIMN_DEVICE unsigned char* shared_memory() {
  extern __shared__ __align__(16) unsigned char memory[];
  return memory;
}

// The value of the lane whose index differs in the bits of `mask`.
LIMN_DEVICE float shuffle_xor(float value, int mask) {
  return __shfl_xor_sync(0xffffffffU, value, mask);
}

LIMN_DEVICE bool any_of_warp(bool value) {
  return __any_sync(0xffffffffU, value) != 0;
}

LIMN_DEVICE float infinity() {
  return __int_as_float(0x7f800000);
}

LIMN_DEVICE float float_of_bits(unsigned bits) {
  return __uint_as_float(bits);
}

// Of x rounded to the nearest bfloat16.
LIMN_DEVICE unsigned short bfloat16_bits(float x) {
  unsigned short bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return bits;
}

// Two, the first in the low half.
LIMN_DEVICE unsigned bfloat16_pair(float first, float second) {
  unsigned bits;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(second), "f"(first));
  return bits;
}

// Two rounded to the nearest float8 e4m3, at most its largest, the first in the low byte. sm_89 and
// later; nothing calls it on others.
LIMN_DEVICE unsigned short float8_pair(float first, float second) {
  unsigned short bits = 0;
#if __CUDA_ARCH__ >= 890
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(bits) : "f"(second), "f"(first));
#endif
  return bits;
}

// 2^x to 2 units in the last place.
LIMN_DEVICE float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Starts copying 16 bytes to shared memory, or zeros.
LIMN_DEVICE void copy_async(void* to, const void* from, bool is_there) {
  const auto address = static_cast<unsigned>(__cvta_generic_to_shared(to));
  const int bytes = is_there ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :
               : "r"(address), "l"(from), "r"(bytes)
               : "memory");
}

// Ends a group of copies.
LIMN_DEVICE void commit_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

// Until of this thread's groups all but the last `kPending` have arrived.
template <int kPending>
LIMN_DEVICE void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" : : "n"(kPending) : "memory");
}

// Four 8x8 matrices of bfloat16: lane i gives the address of row i % 8 of matrix i / 8, and gets of
// each matrix the elements 2 (i % 4) and 2 (i % 4) + 1 of row i / 4.
LIMN_DEVICE void load_matrices(unsigned (&matrices)[4], const unsigned short* row) {
  const auto address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])
               : "r"(address)
               : "memory");
}

// The same, each matrix transposed.
LIMN_DEVICE void load_transposed(unsigned (&matrices)[4], const unsigned short* row) {
  const auto address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])
               : "r"(address)
               : "memory");
}

// c [16, 8] += a [16, 16] b [16, 8], a and b bfloat16, spread over the warp's lanes as the PTX ISA
// has it for mma.m16n8k16.
LIMN_DEVICE void multiply_add(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

}  // namespace limn
