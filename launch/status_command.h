// `limn status`: how a run stands. docs/status.md describes it.
#pragma once

#include <filesystem>
#include <ostream>

#include "launch/run_status.h"
#include "launch/terminal.h"
#include "storage/error.h"

namespace limn {

struct StatusOptions {
  std::filesystem::path path;  // a run directory
  bool as_json = false;
  bool all_failures = false;  // rather than the first ten
  bool tells_by_exit_code = false;
};

// Writes it to `out`, which leads to `terminal`. Returns what the program is to end with: Done or,
// if wanted, exit_code_of() the status. Throws as read_run_status().
int status(
    const StatusOptions& options, SystemTime now, const Terminal& terminal, std::ostream& out);

// What a script asks for: 0 complete, 75 resumable, 1 nothing computed yet, 2 running, and the exit
// code of the error that ended the last start.
int exit_code_of(const RunStatus& status);

}  // namespace limn
