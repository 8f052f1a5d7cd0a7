#include "launch/thread_count.h"

#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <thread>

namespace limn {

namespace {

// The processors that the system lets this process run on.
int allowed_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return CPU_COUNT(&set);
}

}  // namespace

int choose_thread_count(int ranks_on_node) {
  if (const char* const wanted = std::getenv("OMP_NUM_THREADS")) {
    if (const int count = std::atoi(wanted); count > 0) return count;
  }
  const int allowed = allowed_processors();
  const bool is_bound = allowed < static_cast<int>(std::thread::hardware_concurrency());
  return std::max(1, is_bound ? allowed : allowed / ranks_on_node);
}

}  // namespace limn
