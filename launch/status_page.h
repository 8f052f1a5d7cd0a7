// A run's status as a person reads it.
#pragma once

#include <cstddef>
#include <ostream>

#include "launch/run_status.h"
#include "launch/terminal.h"

namespace limn {

struct StatusPageOptions {
  std::size_t most_failures = 10;  // of the samples that failed
  SystemTime now;
};

// Writes it to `out`, which leads to `terminal`, in lines of at most its width, with colours if it
// wants them. Nothing that stands in the run's files can steer the terminal.
void write_status_page(
    const RunStatus& status,
    const StatusPageOptions& options,
    const Terminal& terminal,
    std::ostream& out);

}  // namespace limn
