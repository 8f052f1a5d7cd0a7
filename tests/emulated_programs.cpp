#include "tests/emulated_programs.h"

#include <map>
#include <stdexcept>
#include <string>

#include "tests/emulated_gpu.h"
#include "worker/gpu/kernel_tasks.h"
#include "worker/gpu/rows.cu"

namespace limn::test {

namespace {

template <typename Parameter>
Parameter& argument(const GpuLaunch& launch, int index) {
  return *static_cast<Parameter*>(launch.arguments[index]);
}

void run(const GpuLaunch& launch, const std::function<void()>& kernel) {
  run_emulated(launch.blocks, launch.threads, launch.shared_bytes, kernel);
}

class EmulatedRows final : public GpuProgram {
 public:
  void launch(const GpuLaunch& launch) override {
    if (launch.kernel == "limn_scale") {
      run(launch, [&] { limn_scale(argument<GpuRowTask>(launch, 0), argument<float>(launch, 1)); });
    } else if (launch.kernel == "limn_norm") {
      run(launch,
          [&] { limn_norm(argument<GpuRowTask>(launch, 0), argument<GpuNorm>(launch, 1)); });
    } else if (launch.kernel == "limn_activate") {
      run(launch, [&] {
        limn_activate(
            argument<GpuRowTask>(launch, 0),
            argument<GpuActivation>(launch, 1),
            argument<int>(launch, 2));
      });
    } else if (launch.kernel == "limn_scale_to_float8") {
      run(launch, [&] {
        limn_scale_to_float8(argument<GpuRowTask>(launch, 0), argument<float*>(launch, 1));
      });
    } else if (launch.kernel == "limn_rotate") {
      run(launch, [&] { limn_rotate(argument<GpuRotationTask>(launch, 0)); });
    } else {
      throw std::logic_error("no such kernel: " + std::string(launch.kernel));
    }
  }
};

class EmulatedAttention final : public GpuProgram {
 public:
  using Attend = void (*)(GpuAttentionTask);
  using Pack = void (*)(GpuPackTask);

  EmulatedAttention(Attend attend, Pack pack) : attend_(attend), pack_(pack) {}

  void launch(const GpuLaunch& launch) override {
    if (launch.kernel == "limn_attend") {
      run(launch, [&] { attend_(argument<GpuAttentionTask>(launch, 0)); });
    } else if (launch.kernel == "limn_pack") {
      run(launch, [&] { pack_(argument<GpuPackTask>(launch, 0)); });
    } else {
      throw std::logic_error("no such kernel: " + std::string(launch.kernel));
    }
  }

 private:
  Attend attend_;
  Pack pack_;
};

std::map<GpuAttentionVariant, EmulatedAttention>& variants() {
  static std::map<GpuAttentionVariant, EmulatedAttention> variants;
  return variants;
}

// Made where a variant is compiled (emulated_attention.inc).
struct Registration {
  Registration(
      const GpuAttentionVariant& variant,
      EmulatedAttention::Attend attend,
      EmulatedAttention::Pack pack) {
    variants().emplace(variant, EmulatedAttention(attend, pack));
  }
};

}  // namespace

GpuProgram& EmulatedPrograms::rows() {
  static EmulatedRows program;
  return program;
}

GpuProgram& EmulatedPrograms::attention(const GpuAttentionVariant& variant) {
  return variants().at(variant);
}

}  // namespace limn::test

#define LIMN_VARIANT dim1_pieces3_warps8
#define LIMN_HEAD_DIM 1
#define LIMN_PIECES 3
#define LIMN_WARPS 8
#define LIMN_TILES 1
#define LIMN_KEYS 64
#include "tests/emulated_attention.inc"

#define LIMN_VARIANT dim6_pieces3_warps8
#define LIMN_HEAD_DIM 6
#define LIMN_PIECES 3
#define LIMN_WARPS 8
#define LIMN_TILES 1
#define LIMN_KEYS 64
#include "tests/emulated_attention.inc"

#define LIMN_VARIANT dim20_pieces3_warps8
#define LIMN_HEAD_DIM 20
#define LIMN_PIECES 3
#define LIMN_WARPS 8
#define LIMN_TILES 1
#define LIMN_KEYS 64
#include "tests/emulated_attention.inc"

#define LIMN_VARIANT dim64_pieces3_warps8
#define LIMN_HEAD_DIM 64
#define LIMN_PIECES 3
#define LIMN_WARPS 8
#define LIMN_TILES 1
#define LIMN_KEYS 64
#include "tests/emulated_attention.inc"

#define LIMN_VARIANT dim80_pieces3_warps8
#define LIMN_HEAD_DIM 80
#define LIMN_PIECES 3
#define LIMN_WARPS 8
#define LIMN_TILES 1
#define LIMN_KEYS 64
#include "tests/emulated_attention.inc"

#define LIMN_VARIANT dim128_pieces3_warps8
#define LIMN_HEAD_DIM 128
#define LIMN_PIECES 3
#define LIMN_WARPS 8
#define LIMN_TILES 1
#define LIMN_KEYS 64
#include "tests/emulated_attention.inc"

#define LIMN_VARIANT dim20_pieces1_warps4
#define LIMN_HEAD_DIM 20
#define LIMN_PIECES 1
#define LIMN_WARPS 4
#define LIMN_TILES 2
#define LIMN_KEYS 64
#include "tests/emulated_attention.inc"

#define LIMN_VARIANT dim20_pieces2_warps4
#define LIMN_HEAD_DIM 20
#define LIMN_PIECES 2
#define LIMN_WARPS 4
#define LIMN_TILES 2
#define LIMN_KEYS 64
#include "tests/emulated_attention.inc"

#define LIMN_VARIANT dim128_pieces2_warps4
#define LIMN_HEAD_DIM 128
#define LIMN_PIECES 2
#define LIMN_WARPS 4
#define LIMN_TILES 2
#define LIMN_KEYS 32
#include "tests/emulated_attention.inc"

#define LIMN_VARIANT dim20_pieces3_warps4
#define LIMN_HEAD_DIM 20
#define LIMN_PIECES 3
#define LIMN_WARPS 4
#define LIMN_TILES 1
#define LIMN_KEYS 16
#include "tests/emulated_attention.inc"
