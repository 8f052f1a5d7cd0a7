// How much memory ATen's tensors take.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include <c10/core/Allocator.h>

namespace limn {

// Counts the bytes of the tensors that a thread allocates on the CPU while a c10::DebugInfoGuard of
// kind PROFILER_STATE holds this.
class AllocationCount final : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(
      void* /*ptr*/,
      std::int64_t size,  // negative: freed
      std::size_t /*total_allocated*/,
      std::size_t /*total_reserved*/,
      c10::Device /*device*/) override {
    live_ += size;
    peak_ = std::max(peak_, live_);
    allocated_ += std::max<std::int64_t>(size, 0);
  }

  bool memoryProfilingEnabled() const override { return true; }

  std::int64_t live() const { return live_; }

  // The most that was live at once.
  std::int64_t peak() const { return peak_; }

  // All that was allocated, freed or not.
  std::int64_t allocated() const { return allocated_; }

  // What is live stays counted.
  void start_again() {
    peak_ = live_;
    allocated_ = 0;
  }

 private:
  std::int64_t live_ = 0;
  std::int64_t peak_ = 0;
  std::int64_t allocated_ = 0;
};

}  // namespace limn
