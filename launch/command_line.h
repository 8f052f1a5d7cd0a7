// The command line of `limn`.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "launch/bench_options.h"
#include "launch/job_file.h"
#include "launch/logging.h"
#include "launch/merge_command.h"
#include "launch/plan_command.h"
#include "launch/show_command.h"
#include "launch/status_command.h"
#include "storage/run_directory.h"

namespace limn {

// limn run JOB.toml [--KEY VALUE]...
struct RunCommand {
  std::filesystem::path job_path;
  std::vector<JobOverride> overrides;  // in the order of job_keys(); their values are not checked
  std::optional<double> max_hours;     // of this start
  StartMode mode = StartMode::Continue;
  LogOptions log;
};

// limn show RUN_DIR|FILE
struct ShowCommand {
  ShowOptions options;
};

// limn status RUN_DIR
struct StatusCommand {
  StatusOptions options;
};

// limn bench CONFIG, limn bench --collectives
struct BenchCommand {
  BenchOptions options;
};

// limn plan JOB.toml --sbatch FILE [--KEY VALUE]...
struct PlanCommand {
  SubmissionOptions options;
};

// limn merge OUT.h5 RUN_DIR|FILE...
struct MergeCommand {
  MergeOptions options;
};

struct HelpRequest {
  std::string text;
};

struct VersionRequest {
  std::string text;
};

using Command = std::variant<
    RunCommand,
    ShowCommand,
    StatusCommand,
    BenchCommand,
    PlanCommand,
    MergeCommand,
    HelpRequest,
    VersionRequest>;

// Understands the arguments of main(). Prints nothing and reads nothing else.
// Throws UsageError: one line that says what is wrong, with the nearest known name, and where help
// is found.
Command parse_command_line(int argc, const char* const* argv);

}  // namespace limn
