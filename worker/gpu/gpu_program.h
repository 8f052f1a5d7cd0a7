// Programs of the GPU, compiled at run time for the GPU that is there.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace limn {

struct GpuLaunch {
  std::string_view kernel;
  std::int64_t blocks = 0;
  int threads = 0;             // of a block
  int shared_bytes = 0;        // of a block
  void** arguments = nullptr;  // the addresses of the kernel's parameters
};

// Threads: one thread at a time.
class GpuProgram {
 public:
  virtual ~GpuProgram() = default;

  // Starts a kernel on the current stream; with 0 blocks nothing. Does not wait.
  virtual void launch(const GpuLaunch& launch) = 0;
};

// The attention of heads of one width.
struct GpuAttentionVariant {
  std::int64_t head_dim = 0;
  int pieces = 2;  // bfloat16 of a float32
  int warps = 8;   // of a thread block
  int tiles = 1;   // of 16 queries, of a warp
  int keys = 64;   // that are in shared memory at a time

  auto operator<=>(const GpuAttentionVariant&) const = default;

  std::int64_t padded_head_dim() const { return (head_dim + 15) / 16 * 16; }

  int queries_of_block() const { return 16 * tiles * warps; }

  int threads() const { return 32 * warps; }

  // Queries, keys and values.
  int shared_bytes() const {
    const auto row = static_cast<int>(pieces * padded_head_dim()) + 8;
    return 2 * row * (queries_of_block() + 2 * keys);
  }
};

// The programs that the sweep is made of. Threads: one thread at a time.
class GpuPrograms {
 public:
  virtual ~GpuPrograms() = default;

  virtual GpuProgram& rows() = 0;
  virtual GpuProgram& attention(const GpuAttentionVariant& variant) = 0;

  // That a block of this device may ask for.
  virtual int shared_bytes_limit() = 0;
};

// Those of the current device, each compiled when it is first asked for. Throws InternalError when
// one cannot be compiled or loaded.
GpuPrograms& gpu_programs();

// Of the current device: 90 for 9.0.
int gpu_capability();

// Machine code for a compute capability, such as 90. Needs no GPU. Throws InternalError with what
// the compiler says.
std::vector<char> compile_gpu_rows(int capability);
std::vector<char> compile_gpu_attention(const GpuAttentionVariant& variant, int capability);

}  // namespace limn
