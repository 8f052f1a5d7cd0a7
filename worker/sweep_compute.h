// The arithmetic of a sweep.
#pragma once

#include <string_view>

#include <ATen/core/ScalarType.h>

namespace limn {

enum class SweepCompute {
  Float32,
  Bfloat16,       // products in bfloat16; the residual stream, norms, softmax and attention float32
  Bfloat16Delta,  // base rows as Float32; of all others the difference from them, as Bfloat16
};

// As the job file spells it.
std::string_view name_of(SweepCompute compute);

// What a job wants: a name, or `auto`, which is the delta form where the checkpoint stores
// bfloat16, as its weights are then exact in it, and float32 elsewhere. Requires: a name that the
// job file's reader takes.
SweepCompute choose_sweep_compute(std::string_view wanted, at::ScalarType stored);

}  // namespace limn
