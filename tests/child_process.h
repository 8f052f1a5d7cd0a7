// Processes that a test forks, for what only a process can suffer: SIGKILL, limits, other programs.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <stdexcept>

namespace limn::test {

// Forks a child that runs `body` and exits with its result, or with 99 when it throws.
inline pid_t start_child(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child < 0) throw std::runtime_error("cannot fork");
  if (child > 0) return child;
  int code = 99;
  try {
    code = body();
  } catch (...) {  // Must not get into the test, which is the parent's.
  }
  _exit(code);
}

// Waits for the child; -1 when it did not exit by itself.
inline int exit_code_of(pid_t child) {
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace limn::test
