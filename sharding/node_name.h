// Where a rank runs.
#pragma once

#include <string>

namespace limn {

// The name of the node that this rank runs on, as MPI knows it. Threads: any thread.
std::string node_name();

}  // namespace limn
