#include "tests/limn_program.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sstream>
#include <stdexcept>

#include "tests/child_process.h"

namespace limn::test {

namespace {

int become(const std::vector<std::string>& command, const std::string& output) {
  ::setpgid(0, 0);
  const int file = ::open(output.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  const int nothing = ::open("/dev/null", O_RDONLY);
  ::dup2(nothing, STDIN_FILENO);
  ::dup2(file, STDOUT_FILENO);
  ::dup2(file, STDERR_FILENO);
  ::setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
  ::setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
  // More threads than processors wait for each other most of the time.
  ::setenv("OMP_NUM_THREADS", "1", 1);
  if (::chdir(LIMN_SOURCE_DIR) != 0) return 98;
  std::vector<char*> arguments;
  for (const std::string& argument : command)
    arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  ::execv(arguments[0], arguments.data());
  return 97;
}

}  // namespace

RunningProgram::RunningProgram(const std::vector<std::string>& command)
    : process_(start_child([&] { return become(command, (folder_ / "output").string()); })) {
  ::setpgid(process_, process_);  // whoever of the two comes first
}

RunningProgram::~RunningProgram() {
  if (process_ == 0) return;
  kill_all();
  exit_code();
}

void RunningProgram::signal(int number) const {
  ::kill(process_, number);
}

void RunningProgram::kill_all() const {
  ::kill(-process_, SIGKILL);
}

int RunningProgram::exit_code() {
  const int code = exit_code_of(process_);
  process_ = 0;
  return code;
}

std::string RunningProgram::output() const {
  return std::filesystem::exists(folder_ / "output") ? read_bytes(folder_ / "output") : "";
}

std::vector<std::string> limn_on_ranks(int ranks, const std::vector<std::string>& arguments) {
  std::vector<std::string> command{
      LIMN_MPIEXEC,
      "--oversubscribe",
      "--bind-to",
      "none",
      "-n",
      std::to_string(ranks),
      LIMN_PROGRAM};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return command;
}

ProgramResult run_to_end(const std::vector<std::string>& command) {
  RunningProgram program(command);
  const int code = program.exit_code();
  return {code, program.output()};
}

std::vector<std::string> lines_with(const std::string& output, const std::string& text) {
  std::vector<std::string> found;
  std::istringstream lines(output);
  for (std::string line; std::getline(lines, line);) {
    if (line.find(text) != std::string::npos) found.push_back(line);
  }
  return found;
}

}  // namespace limn::test
