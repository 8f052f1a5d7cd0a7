// The programs of worker/gpu, compiled for the emulation of emulated_gpu.h. Their tensors lie on
// the CPU.
#pragma once

#include "worker/gpu/gpu_program.h"

namespace limn::test {

// `shared_bytes_limit`: of the device that is emulated. Of attention only the variants that the
// tests use.
class EmulatedPrograms final : public GpuPrograms {
 public:
  explicit EmulatedPrograms(int shared_bytes_limit) : shared_bytes_limit_(shared_bytes_limit) {}

  GpuProgram& rows() override;
  GpuProgram& attention(const GpuAttentionVariant& variant) override;

  int shared_bytes_limit() override { return shared_bytes_limit_; }

 private:
  int shared_bytes_limit_;
};

}  // namespace limn::test
