#include "launch/plan_command.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string_view>
#include <system_error>

#include <fmt/format.h>

#include "launch/visible_text.h"
#include "storage/durable_file.h"
#include "storage/error.h"

namespace limn {

namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kUsualWarningS = 180;
constexpr std::int64_t kLongestWarningS = 65'535;  // that sbatch takes

UsageError usage_error(std::string_view what_is_wrong, std::string_view value) {
  return UsageError(fmt::format("limn plan: {}: {}", what_is_wrong, visible_line(value)));
}

// The program as a person starts it: of a bundle, what sets up the libraries first.
fs::path this_program() {
  std::error_code code;
  fs::path program = fs::read_symlink("/proc/self/exe", code);
  if (code) throw IoError(fmt::format("/proc/self/exe: cannot be read: {}", code.message()));
  const fs::path libexec = program.parent_path().parent_path();
  if (libexec.filename() == "libexec") {
    const fs::path start = libexec.parent_path() / "bin" / program.filename();
    if (fs::exists(start, code)) return start;
  }
  return program;
}

// That of a bundle, else the one that is found where the job runs.
fs::path mpirun_of(const fs::path& limn) {
  std::error_code unreadable;
  const fs::path beside = limn.parent_path() / "mpirun";
  return fs::exists(beside, unreadable) ? beside : fs::path("mpirun");
}

// What stands in a line of sbatch's as it is.
void check_word(std::string_view flag, const std::optional<std::string>& word) {
  constexpr std::string_view kAllowed =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.,:+@%-";
  if (!word) return;
  if (!word->empty() && word->find_first_not_of(kAllowed) == std::string::npos) return;
  throw usage_error(fmt::format("{} must be letters, digits or _ . , : + @ % -", flag), *word);
}

void check_sbatch_option(std::string_view option) {
  if (option.starts_with("--") && option.find_first_of("\r\n") == std::string_view::npos) return;
  throw usage_error("--option must be one of sbatch's, \"--mem=64G\"", option);
}

// A name for squeue.
std::string name_of(const fs::path& run) {
  std::string name = "limn-" + run.filename().string();
  const auto is_plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  };
  std::ranges::replace_if(
      name, [&](char c) { return !is_plain(c); }, '-');
  return name;
}

std::int64_t warning_of(const SubmissionOptions& options) {
  const std::optional<std::int64_t> limit_s = time_limit_s(options.time);
  if (!limit_s) {
    throw usage_error(
        "--time must be minutes, hours:minutes:seconds, days-hours or the like", options.time);
  }
  if (!options.warning_s) return std::min(kUsualWarningS, *limit_s / 2);
  if (*options.warning_s >= std::min(*limit_s, kLongestWarningS)) {
    throw usage_error(
        "--warn must be fewer seconds than --time, and than 65535",
        std::to_string(*options.warning_s));
  }
  return *options.warning_s;
}

void check_ranks(const Job& job, const SbatchScript& script) {
  const std::int64_t ranks = script.nodes * script.ranks_per_node;
  if (ranks % job.parallel.tensor_parallel == 0) return;
  throw usage_error(
      "the ranks must be a multiple of parallel.tensor_parallel; change --nodes or "
      "--ranks-per-node",
      fmt::format("{} ranks, groups of {}", ranks, job.parallel.tensor_parallel));
}

void check_array(const Job& job, const SubmissionOptions& options) {
  if (!options.array || job.data.shard == DataShard{}) return;
  throw usage_error(
      "with --array every task has a data.shard of its own; leave the key out",
      fmt::format("{}/{}", job.data.shard.index, job.data.shard.count));
}

SbatchScript script_of(const Job& job, const SubmissionOptions& options) {
  check_array(job, options);
  check_word("--partition", options.partition);
  check_word("--account", options.account);
  check_word("--job-name", options.name);
  for (const std::string& option : options.sbatch_options)
    check_sbatch_option(option);

  const fs::path folder = fs::current_path();
  SbatchScript script{
      .limn = this_program(),
      .folder = folder,
      .job = folder / options.job_path,
      .run = (folder / job.output.path).lexically_normal(),
      .launcher = options.launcher,
      .nodes = options.nodes,
      .cpus_per_rank = options.cpus_per_rank,
      .time = options.time,
      .warning_s = warning_of(options),
      .partition = options.partition,
      .account = options.account,
      .options = options.sbatch_options,
      .array = options.array,
      .max_restarts = options.max_restarts};
  if (!script.run.has_filename()) script.run = script.run.parent_path();  // of "runs/squad/"
  script.mpirun = mpirun_of(script.limn);
  script.name = options.name.value_or(name_of(script.run));
  for (const JobOverride& flag : options.overrides) {
    script.flags.push_back("--" + flag.key);
    script.flags.push_back(flag.value);
  }
  const bool on_gpus = job.parallel.device == "cuda";
  const std::int64_t asked_gpus = options.gpus_per_node.value_or(0);
  script.ranks_per_node = options.ranks_per_node.value_or(
      asked_gpus > 0 ? asked_gpus : std::int64_t{job.parallel.tensor_parallel});
  script.gpus_per_node = options.gpus_per_node.value_or(on_gpus ? script.ranks_per_node : 0);
  check_ranks(job, script);
  return script;
}

bool is_own_script(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  return std::getline(file, line) && std::getline(file, line) &&
         line.starts_with(kSbatchScriptMark);
}

void write_script(const fs::path& path, const std::string& text) {
  std::error_code unreadable;
  if (fs::exists(path, unreadable) && !is_own_script(path)) {
    throw usage_error(
        "a file that `limn plan` did not write is in the script's place; remove it, or choose "
        "another name for --sbatch",
        path.string());
  }
  const FileDescriptor file(path, O_WRONLY | O_CREAT);
  write_text(file, path, text);
  sync(file, path);
}

void tell(const Job& job, const SbatchScript& script, const fs::path& path, std::ostream& out) {
  out << fmt::format(
      "{}: nodes: {}, on each ranks: {}, GPUs: {}; time of a start: {}, restarts at most: {}\n",
      path.string(),
      script.nodes,
      script.ranks_per_node,
      script.gpus_per_node,
      script.time,
      script.max_restarts);
  if (script.gpus_per_node == 0 && job.parallel.device == "auto")
    out << "no GPUs are asked for, so limn computes on CPUs; --gpus-per-node asks for some\n";
  out << fmt::format("submit it: sbatch {}\n", shell_quoted(path.string()));
  if (script.array) {
    const std::string run = shell_quoted(script.run.string());
    out << fmt::format(
        "when all {} tasks are done: limn merge {}/relevance.h5 {}/shard-*\n",
        *script.array,
        run,
        run);
  }
}

}  // namespace

void plan(const SubmissionOptions& options, std::ostream& out) {
  const Job job = read_job(options.job_path, options.overrides);
  const SbatchScript script = script_of(job, options);
  write_script(options.sbatch, to_text(script));
  tell(job, script, options.sbatch, out);
}

}  // namespace limn
