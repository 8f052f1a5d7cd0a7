// Thread blocks of a GPU on a CPU, for kernels of worker/gpu: this header stands in for
// intrinsics.cu. Every thread is a fiber; instructions of a whole warp are carried out when all its
// lanes have come to them. Copies arrive when they are waited for, and not before. What shared
// memory holds at first is NaN.
#pragma once

#include <cmath>
#include <functional>

#define LIMN_DEVICE inline
#define LIMN_SLOW_DEVICE inline
#define LIMN_KERNEL inline

namespace limn::test {

// Runs the kernel in every thread of every block, one block after the other. Throws
// std::logic_error when a thread ends while copies are under way.
void run_emulated(
    long long blocks, int threads, int shared_bytes, const std::function<void()>& kernel);

void wait_for_copies(int pending);

}  // namespace limn::test

namespace limn {

int block_index();
int thread_index();
void sync_threads();
unsigned char* shared_memory();
float shuffle_xor(float value, int mask);
bool any_of_warp(bool value);
float infinity();
float float_of_bits(unsigned bits);
unsigned short bfloat16_bits(float x);
unsigned bfloat16_pair(float first, float second);
unsigned short float8_pair(float first, float second);
float exp2_fast(float x);
void copy_async(void* to, const void* from, bool is_there);
void commit_copies();

template <int kPending>
void wait_for_copies() {
  test::wait_for_copies(kPending);
}

void load_matrices(unsigned (&matrices)[4], const unsigned short* row);
void load_transposed(unsigned (&matrices)[4], const unsigned short* row);
void multiply_add(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1);

inline int max(int a, int b) {
  return a > b ? a : b;
}

}  // namespace limn
