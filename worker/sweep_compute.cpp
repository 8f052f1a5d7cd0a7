#include "worker/sweep_compute.h"

#include <array>
#include <string>

#include "sharding/gpu.h"
#include "storage/error.h"
#include "worker/gpu/gpu_program.h"

namespace limn {

namespace {

constexpr std::array kAll = {
    SweepCompute::Float32,
    SweepCompute::Bfloat16,
    SweepCompute::Bfloat16Delta,
    SweepCompute::Float8Delta};

}  // namespace

bool is_delta(SweepCompute compute) {
  return compute == SweepCompute::Bfloat16Delta || compute == SweepCompute::Float8Delta;
}

at::ScalarType base_dtype(SweepCompute compute) {
  return compute == SweepCompute::Bfloat16 ? at::kBFloat16 : at::kFloat;
}

std::string_view name_of(SweepCompute compute) {
  switch (compute) {
    case SweepCompute::Float32:
      return "float32";
    case SweepCompute::Bfloat16:
      return "bfloat16";
    case SweepCompute::Bfloat16Delta:
      return "bfloat16_delta";
    case SweepCompute::Float8Delta:
      return "fp8_delta";
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

void check_sweep_compute(SweepCompute compute, at::Device device) {
  constexpr int kFirstWithFloat8 = 89;
  if (compute != SweepCompute::Float8Delta) return;
  if (device.is_cuda() && gpu_capability() >= kFirstWithFloat8) return;
  throw JobError(fmt::format(
      "model.compute: fp8_delta needs GPUs of compute capability 8.9 or later; use "
      "\"bfloat16_delta\": {}",
      device_text(device)));
}

}  // namespace limn
