#include "launch/command_line.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "launch/help_text.h"
#include "launch/job_keys.h"
#include "launch/version.h"
#include "launch/visible_text.h"
#include "storage/error.h"
#include "storage/nearest_name.h"

namespace limn {

namespace {

// In the order of LogLevel's and ColorChoice's enumerators.
constexpr std::array<std::string_view, 5> kLogLevels = {"trace", "debug", "info", "warn", "error"};
constexpr std::array<std::string_view, 3> kColorChoices = {"auto", "always", "never"};
// In the order of Launcher's.
constexpr std::array<std::string_view, 2> kLaunchers = {"srun", "mpirun"};

constexpr std::int64_t kFewestColumns = 40;

// `command` is "limn run" or "limn"; the parts of a message are where, what is wrong, value.
UsageError usage_error(
    std::string_view command, std::string_view what_is_wrong, std::string_view value) {
  return UsageError(
      fmt::format("{0}: {1}; see {0} --help: {2}", command, what_is_wrong, visible_line(value)));
}

UsageError usage_error(std::string_view command, std::string_view what_is_wrong) {
  return UsageError(fmt::format("{0}: {1}; see {0} --help", command, what_is_wrong));
}

// One command of the program, or the program itself: which flags it has and what was written after
// it. Every flag takes a value but --help, --version and switches.
class CommandParser {
 public:
  // Borrows: `app`.
  CommandParser(CLI::App& app, std::string name) : app_(app), name_(std::move(name)) {
    app_.set_help_flag();
    app_.add_flag("-h,--help");
    app_.add_flag("--version");
    app_.allow_extras();
    flags_ = {"--help", "--version"};
  }

  // An argument that is no flag.
  void add_argument(const std::string& name) { app_.add_option(name); }

  void add_flag(const std::string& flag) {
    app_.add_option(flag)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    flags_.push_back(flag);
  }

  void add_switch(const std::string& flag) {
    app_.add_flag(flag);
    flags_.push_back(flag);
  }

  const std::string& name() const { return name_; }

  bool was_given() const { return app_.parsed(); }

  bool has(const std::string& option) const { return app_.count(option) > 0; }

  // All values that the flag was given, in their order.
  const std::vector<std::string>& values(const std::string& flag) const {
    return app_.get_option(flag)->results();
  }

  // Of a flag that was given several times the last value counts.
  std::optional<std::string> value(const std::string& flag) const {
    if (!has(flag)) return std::nullopt;
    return values(flag).back();
  }

  // The value of a flag that takes one of `words`, as its index.
  template <std::size_t N>
  std::optional<std::size_t> word(
      const std::string& flag, const std::array<std::string_view, N>& words) const {
    const std::optional<std::string> written = value(flag);
    if (!written) return std::nullopt;
    const auto found = std::find(words.begin(), words.end(), *written);
    if (found == words.end()) {
      throw usage_error(
          name_, fmt::format("{} must be one of {}", flag, fmt::join(words, ", ")), *written);
    }
    return found - words.begin();
  }

  // The value of a flag that takes a whole number.
  std::optional<std::int64_t> whole_number(const std::string& flag, std::int64_t minimum) const {
    const std::optional<std::string> written = value(flag);
    if (!written) return std::nullopt;
    std::int64_t number = 0;
    const char* const end = written->data() + written->size();
    const auto [stopped_at, error] = std::from_chars(written->data(), end, number);
    if (error != std::errc() || stopped_at != end || number < minimum) {
      throw usage_error(
          name_, fmt::format("{} must be a whole number of at least {}", flag, minimum), *written);
    }
    return number;
  }

  // The value of a flag that takes a number above 0.
  std::optional<double> positive_number(const std::string& flag) const {
    const std::optional<std::string> written = value(flag);
    if (!written) return std::nullopt;
    double number = 0;
    const char* const end = written->data() + written->size();
    const auto [stopped_at, error] = std::from_chars(written->data(), end, number);
    if (error != std::errc() || stopped_at != end || !std::isfinite(number) || number <= 0) {
      throw usage_error(name_, fmt::format("{} must be a number above 0", flag), *written);
    }
    return number;
  }

  // The first argument that nothing asked for.
  std::optional<std::string> surplus_argument() const {
    const std::vector<std::string> surplus = app_.remaining();
    if (surplus.empty()) return std::nullopt;
    return surplus.front();
  }

  // All arguments, of a command that takes any number of them.
  std::vector<std::string> arguments() const { return app_.remaining(); }

  // Throws UsageError for the first one.
  void refuse_unknown_flags() const {
    for (const std::string& word : app_.remaining())
      if (word.starts_with('-')) throw unknown_flag(word);
  }

  // The one argument. Throws UsageError unless it is there, alone and without unknown flags.
  const std::string& sole_argument(const std::string& name, std::string_view what) const {
    refuse_unknown_flags();
    if (!has(name)) throw usage_error(name_, fmt::format("{} expected", what));
    if (const auto surplus = surplus_argument())
      throw usage_error(name_, fmt::format("only {} expected", what), *surplus);
    return values(name).front();
  }

 private:
  UsageError unknown_flag(std::string_view written) const {
    const std::string_view flag = written.substr(0, written.find('='));
    const std::vector<std::string_view> candidates(flags_.begin(), flags_.end());
    std::optional<std::string> intended;
    if (const auto nearest = nearest_name(flag, candidates)) intended = *nearest;
    if (!intended) intended = flag_of_intended_key(flag);
    if (!intended) return usage_error(name_, "unknown flag", flag);
    return usage_error(name_, fmt::format("unknown flag, did you mean {}", *intended), flag);
  }

  // --parallel.batch_tokens for --batch_tokens, if this command has flags for keys.
  std::optional<std::string> flag_of_intended_key(std::string_view flag) const {
    const std::size_t name_begin = std::min(flag.find_first_not_of('-'), flag.size());
    const std::optional<std::string_view> key = intended_key(flag.substr(name_begin));
    if (!key) return std::nullopt;
    std::string intended = fmt::format("--{}", *key);
    if (std::find(flags_.begin(), flags_.end(), intended) == flags_.end()) return std::nullopt;
    return intended;
  }

  CLI::App& app_;
  std::string name_;
  std::vector<std::string> flags_;
};

// Flags of `limn bench` that stand for keys of the job file.
struct BenchFlag {
  const char* flag;
  std::string_view key;
};

constexpr std::array<BenchFlag, 7> kBenchKeys = {{
    {"--dtype", "model.dtype"},
    {"--compute", "model.compute"},
    {"--suppression", "explain.suppression"},
    {"--factor", "explain.factor"},
    {"--tensor-parallel", "parallel.tensor_parallel"},
    {"--batch-tokens", "parallel.batch_tokens"},
    {"--device", "parallel.device"},
}};

// A flag that takes a whole number of the bench's own.
struct BenchNumber {
  const char* flag;
  std::int64_t minimum;
  std::int64_t& value;
};

std::array<BenchNumber, 7> bench_numbers(BenchOptions& options) {
  BenchSamples& samples = options.samples;
  return {{
      {"--tokens", 1, samples.tokens},
      {"--targets", 1, samples.targets},
      {"--units", 0, samples.units},
      {"--samples", 1, samples.count},
      {"--batches", 0, options.batches},
      {"--layers", 0, options.layers},
      {"--repeat", 1, options.repeat},
  }};
}

// Flags of `limn plan` that take a whole number.
struct PlanNumber {
  const char* flag;
  std::int64_t minimum;
  std::optional<std::int64_t> SubmissionOptions::*value;
};

constexpr std::array<PlanNumber, 5> kPlanNumbers = {{
    {"--ranks-per-node", 1, &SubmissionOptions::ranks_per_node},
    {"--gpus-per-node", 0, &SubmissionOptions::gpus_per_node},
    {"--cpus-per-rank", 1, &SubmissionOptions::cpus_per_rank},
    {"--warn", 0, &SubmissionOptions::warning_s},
    {"--array", 1, &SubmissionOptions::array},
}};

// Flags of `limn plan` that take a text.
struct PlanText {
  const char* flag;
  std::optional<std::string> SubmissionOptions::*value;
};

constexpr std::array<PlanText, 3> kPlanTexts = {{
    {"--partition", &SubmissionOptions::partition},
    {"--account", &SubmissionOptions::account},
    {"--job-name", &SubmissionOptions::name},
}};

// All commands and the program itself, with all their flags.
struct ProgramParser {
  ProgramParser() {
    app.require_subcommand(0, 1);
    for (const JobKey& key : job_keys())
      run.add_flag(fmt::format("--{}", key.name));
    run.add_switch("--fresh");
    run.add_switch("--extend");
    run.add_flag("--max-hours");
    run.add_flag("--log-level");
    run.add_flag("--log-file");
    run.add_argument("JOB");

    show.add_flag("--sample");
    show.add_flag("--color");
    show.add_flag("--width");
    show.add_argument("RUN_DIR");

    for (const JobKey& key : job_keys())
      plan.add_flag(fmt::format("--{}", key.name));
    for (const char* flag :
         {"--sbatch", "--launcher", "--nodes", "--time", "--max-restarts", "--option"})
      plan.add_flag(flag);
    for (const PlanNumber& number : kPlanNumbers)
      plan.add_flag(number.flag);
    for (const PlanText& text : kPlanTexts)
      plan.add_flag(text.flag);
    plan.add_argument("JOB");
    status.add_switch("--json");
    status.add_switch("--all");
    status.add_switch("--exit-code");
    status.add_argument("RUN_DIR");

    BenchOptions unread;
    for (const BenchNumber& number : bench_numbers(unread))
      bench.add_flag(number.flag);
    for (const BenchFlag& flag : kBenchKeys)
      bench.add_flag(flag.flag);
    bench.add_flag("--json");
    bench.add_switch("--collectives");
    bench.add_argument("CONFIG");
  }

  CLI::App app;
  CommandParser program{app, "limn"};
  CommandParser run{*app.add_subcommand("run"), "limn run"};
  CommandParser show{*app.add_subcommand("show"), "limn show"};
  CommandParser status{*app.add_subcommand("status"), "limn status"};
  CommandParser bench{*app.add_subcommand("bench"), "limn bench"};
  CommandParser plan{*app.add_subcommand("plan"), "limn plan"};
  CommandParser merge{*app.add_subcommand("merge"), "limn merge"};
};

LogOptions log_options(const CommandParser& run) {
  LogOptions options;
  if (const auto level = run.word("--log-level", kLogLevels))
    options.level = static_cast<LogLevel>(*level);
  if (const auto file = run.value("--log-file")) options.file = *file;
  return options;
}

// Those of all flags that stand for keys.
std::vector<JobOverride> job_overrides(const CommandParser& command) {
  std::vector<JobOverride> overrides;
  for (const JobKey& key : job_keys()) {
    if (const auto value = command.value(fmt::format("--{}", key.name)))
      overrides.push_back({.key = std::string(key.name), .value = *value});
  }
  return overrides;
}

StartMode start_mode(const CommandParser& run) {
  if (run.has("--fresh") && run.has("--extend"))
    throw usage_error(run.name(), "only one of --fresh and --extend expected");
  if (run.has("--fresh")) return StartMode::Fresh;
  return run.has("--extend") ? StartMode::Extend : StartMode::Continue;
}

RunCommand run_command(const CommandParser& run) {
  RunCommand command;
  command.job_path = run.sole_argument("JOB", "a job file");
  command.overrides = job_overrides(run);
  command.max_hours = run.positive_number("--max-hours");
  command.mode = start_mode(run);
  command.log = log_options(run);
  return command;
}

ShowCommand show_command(const CommandParser& show) {
  ShowCommand command;
  command.options.path = show.sole_argument("RUN_DIR", "a run directory or a relevance file");
  command.options.sample_ids = show.values("--sample");
  if (const auto choice = show.word("--color", kColorChoices))
    command.options.color = static_cast<ColorChoice>(*choice);
  command.options.columns = show.whole_number("--width", kFewestColumns);
  return command;
}

PlanCommand plan_command(const CommandParser& plan) {
  PlanCommand command;
  SubmissionOptions& options = command.options;
  options.job_path = plan.sole_argument("JOB", "a job file");
  options.overrides = job_overrides(plan);
  const std::optional<std::string> sbatch = plan.value("--sbatch");
  if (!sbatch || sbatch->empty())
    throw usage_error(plan.name(), "--sbatch FILE expected, the script to write");
  options.sbatch = *sbatch;
  if (const auto launcher = plan.word("--launcher", kLaunchers))
    options.launcher = static_cast<Launcher>(*launcher);
  options.nodes = plan.whole_number("--nodes", 1).value_or(options.nodes);
  options.max_restarts = plan.whole_number("--max-restarts", 0).value_or(options.max_restarts);
  options.time = plan.value("--time").value_or(options.time);
  for (const auto& [flag, minimum, value] : kPlanNumbers)
    options.*value = plan.whole_number(flag, minimum);
  for (const auto& [flag, value] : kPlanTexts)
    options.*value = plan.value(flag);
  options.sbatch_options = plan.values("--option");
  return command;
}

MergeCommand merge_command(const CommandParser& merge) {
  merge.refuse_unknown_flags();
  const std::vector<std::string> paths = merge.arguments();
  if (paths.size() < 2) {
    throw usage_error(
        merge.name(), "the file to write and run directories or relevance files expected");
  }
  MergeCommand command;
  command.options.result = paths.front();
  command.options.inputs.assign(paths.begin() + 1, paths.end());
  return command;
}

StatusCommand status_command(const CommandParser& status) {
  return {
      .options = {
          .path = status.sole_argument("RUN_DIR", "a run directory"),
          .as_json = status.has("--json"),
          .all_failures = status.has("--all"),
          .tells_by_exit_code = status.has("--exit-code")}};
}

// What the job would be.
Job bench_job(const CommandParser& bench) {
  Job job;
  for (const auto& [flag, name] : kBenchKeys) {
    const std::optional<std::string> written = bench.value(flag);
    if (!written) continue;
    const JobKey& key = *find_job_key(name);
    const std::optional<JobValue> value = value_of_text(key.rule, *written);
    if (!value) {
      throw usage_error(
          bench.name(), fmt::format("{} must be {}", flag, expectation(key.rule)), *written);
    }
    if (const auto wrong = objection(key.rule, *value))
      throw usage_error(bench.name(), fmt::format("{} {}", flag, *wrong), *written);
    key.set(job, *value);
  }
  return job;
}

BenchCommand bench_command(const CommandParser& bench) {
  BenchCommand command;
  BenchOptions& options = command.options;
  if (bench.has("--collectives")) {
    options.subject = BenchSubject::Collectives;
    bench.refuse_unknown_flags();
    if (bench.has("CONFIG"))
      throw usage_error(
          bench.name(), "no config is read with --collectives", bench.values("CONFIG").front());
  } else {
    options.config = bench.sole_argument("CONFIG", "a config.json or a folder with one");
  }
  for (const auto& [flag, minimum, value] : bench_numbers(options)) {
    if (const auto written = bench.whole_number(flag, minimum)) value = *written;
  }
  if (options.samples.units > options.samples.tokens) {
    throw usage_error(
        bench.name(),
        "--units must be at most --tokens",
        fmt::format("{} of {}", options.samples.units, options.samples.tokens));
  }
  options.job = bench_job(bench);
  if (const auto file = bench.value("--json")) options.json = *file;
  return command;
}

// What is wrong with a line that does not begin with a command.
UsageError no_command(const CommandParser& program) {
  constexpr std::array<std::string_view, 6> kCommands = {
      "run", "show", "status", "plan", "merge", "bench"};
  const std::string expected = fmt::format(
      "{} or {}", fmt::join(kCommands.begin(), kCommands.end() - 1, ", "), kCommands.back());
  const std::optional<std::string> written = program.surplus_argument();
  if (!written) return usage_error(program.name(), fmt::format("a command expected, {}", expected));
  const std::optional<std::string_view> nearest = nearest_name(*written, kCommands);
  return usage_error(
      program.name(),
      nearest ? fmt::format("unknown command, did you mean {}", *nearest)
              : fmt::format("unknown command, expected {}", expected),
      *written);
}

// The one thing that CLI11 itself refuses here; it puts the flag first.
UsageError missing_value(const CommandParser& command, const CLI::ArgumentMismatch& mismatch) {
  const std::string_view text = mismatch.what();
  return usage_error(
      command.name(), fmt::format("{} needs a value", text.substr(0, text.find(':'))));
}

Command understood(const ProgramParser& parser) {
  const auto& [app, program, run, show, status, bench, plan, merge] = parser;
  if (run.has("--help")) return HelpRequest{run_help()};
  if (show.has("--help")) return HelpRequest{show_help()};
  if (status.has("--help")) return HelpRequest{status_help()};
  if (bench.has("--help")) return HelpRequest{bench_help()};
  if (plan.has("--help")) return HelpRequest{plan_help()};
  if (merge.has("--help")) return HelpRequest{merge_help()};
  if (program.has("--help")) return HelpRequest{program_help()};
  for (const CommandParser* command : {&program, &run, &show, &status, &bench, &plan, &merge}) {
    if (command->has("--version"))
      return VersionRequest{fmt::format("limn {}\n", software_version())};
  }

  program.refuse_unknown_flags();
  if (program.surplus_argument()) throw no_command(program);
  if (run.was_given()) return run_command(run);
  if (show.was_given()) return show_command(show);
  if (status.was_given()) return status_command(status);
  if (bench.was_given()) return bench_command(bench);
  if (plan.was_given()) return plan_command(plan);
  if (merge.was_given()) return merge_command(merge);
  throw no_command(program);
}

}  // namespace

Command parse_command_line(int argc, const char* const* argv) {
  ProgramParser parser;
  try {
    parser.app.parse(argc, argv);
  } catch (const CLI::ArgumentMismatch& mismatch) {
    const CommandParser* command = &parser.show;
    for (const CommandParser* const other :
         {&parser.run, &parser.bench, &parser.plan, &parser.merge}) {
      if (other->was_given()) command = other;
    }
    throw missing_value(*command, mismatch);
  }
  return understood(parser);
}

}  // namespace limn
