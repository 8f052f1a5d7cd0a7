#include "worker/sweep_compute.h"

#include <array>
#include <string>

#include "storage/error.h"

namespace limn {

namespace {

constexpr std::array kAll = {
    SweepCompute::Float32, SweepCompute::Bfloat16, SweepCompute::Bfloat16Delta};

}  // namespace

std::string_view name_of(SweepCompute compute) {
  switch (compute) {
    case SweepCompute::Float32:
      return "float32";
    case SweepCompute::Bfloat16:
      return "bfloat16";
    case SweepCompute::Bfloat16Delta:
      return "bfloat16_delta";
  }
  throw InternalError("an arithmetic without a name");
}

SweepCompute choose_sweep_compute(std::string_view wanted, at::ScalarType stored) {
  if (wanted == "auto") {
    return stored == at::kBFloat16 ? SweepCompute::Bfloat16Delta : SweepCompute::Float32;
  }
  for (const SweepCompute compute : kAll) {
    if (wanted == name_of(compute)) return compute;
  }
  throw InternalError("an arithmetic that was not checked: " + std::string(wanted));
}

}  // namespace limn
