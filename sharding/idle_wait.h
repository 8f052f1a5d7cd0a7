// Waits that cost nothing.
#pragma once

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <thread>

namespace limn {

// Calls `done` until it returns true. MPI's own waits spin at 100 % of a core, yielding or not;
// this one yields for the time in which an answer of a working partner comes, then sleeps, at most
// a tenth of what it has waited so far and at most a millisecond: a long wait costs nothing, a
// short one little.
//
// `done` runs MPI's progress; one MPI_Iprobe that finds nothing makes progress for the next one
// only, so it should probe twice.
template <typename Done>
void wait_idle(Done&& done) {
  using Clock = std::chrono::steady_clock;
  constexpr auto kYieldFor = std::chrono::microseconds(100);
  constexpr auto kLongestSleep = std::chrono::microseconds(1000);
  const auto start = Clock::now();
  while (!done()) {
    const auto waited = Clock::now() - start;
    if (waited < kYieldFor) {
      sched_yield();
    } else {
      std::this_thread::sleep_for(std::min<Clock::duration>(kLongestSleep, waited / 10));
    }
  }
}

}  // namespace limn
