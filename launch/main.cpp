// The program `limn`.

#include <unistd.h>

#include <chrono>
#include <exception>
#include <iostream>
#include <string_view>
#include <variant>

#include "launch/command_line.h"
#include "launch/logging.h"
#include "launch/merge_command.h"
#include "launch/plan_command.h"
#include "launch/run_command.h"
#include "launch/show_command.h"
#include "launch/status_command.h"
#include "launch/stop_signal.h"
#include "launch/terminal.h"
#include "sharding/mpi_session.h"
#include "storage/error.h"

namespace {

using limn::ExitCode;

// `limn run` and `limn bench` are programs of many ranks, everything else one of a single process.
int run_distributed(int argc, char** argv) {
  limn::MpiSession session(&argc, &argv);
  const ExitCode code = limn::run_on_all_ranks(session, argc, argv);
  session.finalize();
  // One rank tells the launcher how it ended; more than one would only be louder.
  return session.rank() == 0 ? static_cast<int>(code) : 0;
}

int run_alone(int argc, char** argv) {
  limn::set_up_logging({}, {});
  const limn::Command command = limn::parse_command_line(argc, argv);
  int code = static_cast<int>(ExitCode::Done);
  if (const auto* const show = std::get_if<limn::ShowCommand>(&command)) {
    limn::show(show->options, limn::describe_terminal(STDOUT_FILENO), std::cout);
  } else if (const auto* const planned = std::get_if<limn::PlanCommand>(&command)) {
    limn::plan(planned->options, std::cout);
  } else if (const auto* const merged = std::get_if<limn::MergeCommand>(&command)) {
    limn::merge(merged->options, std::cout);
  } else if (const auto* const status = std::get_if<limn::StatusCommand>(&command)) {
    const limn::Terminal terminal = limn::describe_terminal(STDOUT_FILENO);
    code = limn::status(status->options, std::chrono::system_clock::now(), terminal, std::cout);
  } else if (const auto* const help = std::get_if<limn::HelpRequest>(&command)) {
    std::cout << help->text;
  } else if (const auto* const version = std::get_if<limn::VersionRequest>(&command)) {
    std::cout << version->text;
  }
  std::cout.flush();
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const std::string_view command = argc > 1 ? argv[1] : "";
    // Of all commands only a run has something to put in order before it ends.
    if (command == "run") limn::catch_stop_signals();
    const bool is_distributed = command == "run" || command == "bench";
    return is_distributed ? run_distributed(argc, argv) : run_alone(argc, argv);
  } catch (...) {
    const limn::FailureText failure = limn::failure_text(std::current_exception());
    limn::log_failure(failure);
    return static_cast<int>(failure.exit_code);
  }
}
