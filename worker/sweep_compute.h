// The arithmetic of a sweep.
#pragma once

#include <string_view>

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

namespace limn {

enum class SweepCompute {
  Float32,
  Bfloat16,       // products in bfloat16; the residual stream, norms, softmax and attention float32
  Bfloat16Delta,  // base rows as Float32; of all others the difference from them, as Bfloat16
  // The same with the differences' products in float8 e4m3, scales for each row and output: on GPUs
  // that have them.
  Float8Delta,
};

bool is_delta(SweepCompute compute);

// Of the matrices that the base's rows are multiplied by.
at::ScalarType base_dtype(SweepCompute compute);

// As the job file spells it.
std::string_view name_of(SweepCompute compute);

// What a job wants: a name, or `auto`, which is the delta form where the checkpoint stores
// bfloat16, as its weights are then exact in it, and float32 elsewhere. Requires: a name that the
// job file's reader takes.
SweepCompute choose_sweep_compute(std::string_view wanted, at::ScalarType stored);

// Throws JobError where the device, of this rank and readied for use, cannot compute so.
void check_sweep_compute(SweepCompute compute, at::Device device);

}  // namespace limn
