// The program itself, started as a person starts it.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "tests/temporary_folder.h"

namespace limn::test {

// A process that runs, with what it prints caught in a file. Owns: its process group, killed at the
// end.
class RunningProgram {
 public:
  // `command`: the program's path and its arguments. It starts in the root of the source tree.
  explicit RunningProgram(const std::vector<std::string>& command);
  ~RunningProgram();
  RunningProgram(const RunningProgram&) = delete;
  RunningProgram& operator=(const RunningProgram&) = delete;

  // To the process alone, as `kill` does, or to all that it started.
  void signal(int number) const;
  void kill_all() const;

  // Waits until it has ended. -1: by a signal.
  int exit_code();

  // What it printed so far, standard output and error as they came.
  std::string output() const;

 private:
  TemporaryFolder folder_;
  pid_t process_ = 0;
};

struct ProgramResult {
  int exit_code = 0;
  std::string output;
};

// mpirun -n RANKS limn ARGUMENTS...
std::vector<std::string> limn_on_ranks(int ranks, const std::vector<std::string>& arguments);

ProgramResult run_to_end(const std::vector<std::string>& command);

// The lines of `output` that contain `text`.
std::vector<std::string> lines_with(const std::string& output, const std::string& text);

}  // namespace limn::test
