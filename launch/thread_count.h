// How many threads a rank computes with.
#pragma once

namespace limn {

// What OMP_NUM_THREADS says; else the processors that this rank may use, divided among the ranks of
// its node where the launcher has not bound them to processors of their own. At least 1.
int choose_thread_count(int ranks_on_node);

}  // namespace limn
