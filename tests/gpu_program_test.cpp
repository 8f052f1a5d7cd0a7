// The GPU's kernels compile for every GPU that limn is for, where there is none, too.

#include "worker/gpu/gpu_program.h"

#include <gtest/gtest.h>

namespace limn::test {

namespace {

constexpr int kCapabilities[] = {80, 90, 100, 120};

}  // namespace

TEST(GpuProgramTest, CompilesTheKernelsOfRows) {
  for (const int capability : kCapabilities)
    EXPECT_GT(compile_gpu_rows(capability).size(), 1000U) << capability;
}

TEST(GpuProgramTest, CompilesAttentionForHeadsOfAnyWidth) {
  for (const int capability : kCapabilities) {
    const GpuAttentionVariant variant{.head_dim = 64, .pieces = 2};
    EXPECT_GT(compile_gpu_attention(variant, capability).size(), 1000U) << capability;
  }
  for (const std::int64_t head_dim : {1, 80, 128}) {
    for (const int pieces : {2, 3}) {
      const GpuAttentionVariant variant{.head_dim = head_dim, .pieces = pieces};
      EXPECT_GT(compile_gpu_attention(variant, 90).size(), 1000U) << head_dim;
    }
  }
  const GpuAttentionVariant wide{.head_dim = 256, .pieces = 2, .warps = 4};
  EXPECT_GT(compile_gpu_attention(wide, 90).size(), 1000U);
}

}  // namespace limn::test
