#include "launch/command_line.h"

#include <algorithm>
#include <sstream>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "launch/help_text.h"
#include "launch/job_keys.h"
#include "storage/error.h"
#include "tests/snapshot.h"

namespace limn::test {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::Field;
using testing::HasSubstr;
using testing::IsEmpty;

Command parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "limn");
  return parse_command_line(static_cast<int>(arguments.size()), arguments.data());
}

RunCommand parse_run(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "run");
  return std::get<RunCommand>(parse(std::move(arguments)));
}

ShowOptions parse_show(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "show");
  return std::get<ShowCommand>(parse(std::move(arguments))).options;
}

BenchOptions parse_bench(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "bench");
  return std::get<BenchCommand>(parse(std::move(arguments))).options;
}

std::string refusal(std::vector<const char*> arguments) {
  try {
    parse(std::move(arguments));
  } catch (const UsageError& error) {
    return error.what();
  }
  return "not refused";
}

auto is_override(const std::string& key, const std::string& value) {
  return AllOf(Field(&JobOverride::key, key), Field(&JobOverride::value, value));
}

TEST(CommandLineTest, TakesAJobFile) {
  const RunCommand run = parse_run({"jobs/squad.toml"});
  EXPECT_EQ(run.job_path, "jobs/squad.toml");
  EXPECT_THAT(run.overrides, IsEmpty());
  EXPECT_EQ(run.log.level, LogLevel::Info);
  EXPECT_EQ(run.log.file, std::nullopt);
}

TEST(CommandLineTest, HasAFlagForEveryKeyOfTheJobFile) {
  for (const JobKey& key : job_keys()) {
    const std::string flag = "--" + std::string(key.name);
    EXPECT_THAT(
        parse_run({"job.toml", flag.c_str(), "x"}).overrides,
        ElementsAre(is_override(std::string(key.name), "x")));
  }
}

TEST(CommandLineTest, TakesFlagsAnywhereAndNegativeNumbersAndTheLastOfTwoValues) {
  const RunCommand run = parse_run(
      {"--explain.factor=0.5",
       "job.toml",
       "--data.limit",
       "-3",
       "--explain.factor",
       "-0.5",
       "--output.path",
       ""});
  EXPECT_EQ(run.job_path, "job.toml");
  EXPECT_THAT(
      run.overrides,
      ElementsAre(
          is_override("data.limit", "-3"),
          is_override("explain.factor", "-0.5"),
          is_override("output.path", "")));
}

TEST(CommandLineTest, TakesLogOptions) {
  const RunCommand run = parse_run({"job.toml", "--log-level", "debug", "--log-file", "a.log"});
  EXPECT_EQ(run.log.level, LogLevel::Debug);
  EXPECT_EQ(run.log.file, "a.log");
  EXPECT_EQ(
      refusal({"run", "job.toml", "--log-level", "loud"}),
      "limn run: --log-level must be one of trace, debug, info, warn, error; see limn run --help: "
      "loud");
}

TEST(CommandLineTest, TakesWhoseStatusToTell) {
  const StatusOptions plain = std::get<StatusCommand>(parse({"status", "runs/squad"})).options;
  EXPECT_EQ(plain.path, "runs/squad");
  EXPECT_FALSE(plain.as_json || plain.all_failures || plain.tells_by_exit_code);
  const StatusOptions all =
      std::get<StatusCommand>(parse({"status", "--json", "--all", "x", "--exit-code"})).options;
  EXPECT_EQ(all.path, "x");
  EXPECT_TRUE(all.as_json && all.all_failures && all.tells_by_exit_code);
  EXPECT_EQ(refusal({"status"}), "limn status: a run directory expected; see limn status --help");
}

TEST(CommandLineTest, TakesWhatToDoWithAnEarlierStart) {
  EXPECT_EQ(parse_run({"job.toml"}).mode, StartMode::Continue);
  EXPECT_EQ(parse_run({"--fresh", "job.toml"}).mode, StartMode::Fresh);
  EXPECT_EQ(parse_run({"job.toml", "--extend"}).mode, StartMode::Extend);
  EXPECT_EQ(
      refusal({"run", "job.toml", "--extend", "--fresh"}),
      "limn run: only one of --fresh and --extend expected; see limn run --help");
}

TEST(CommandLineTest, TakesWhatToShow) {
  const ShowOptions all = parse_show({"runs/squad"});
  EXPECT_EQ(all.path, "runs/squad");
  EXPECT_THAT(all.sample_ids, IsEmpty());
  EXPECT_EQ(all.color, ColorChoice::Auto);
  EXPECT_EQ(all.columns, std::nullopt);

  const ShowOptions some =
      parse_show({"--sample", "a", "--sample", "-b", "x.h5", "--color", "always", "--width", "60"});
  EXPECT_EQ(some.path, "x.h5");
  EXPECT_THAT(some.sample_ids, ElementsAre("a", "-b"));
  EXPECT_EQ(some.color, ColorChoice::Always);
  EXPECT_EQ(some.columns, 60);
}

TEST(CommandLineTest, RefusesAWidthThatIsNone) {
  for (const char* width : {"39", "wide", "60x", "", "-80"}) {
    EXPECT_EQ(
        refusal({"show", "x", "--width", width}),
        std::string(
            "limn show: --width must be a whole number of at least 40; see limn show --help: ") +
            width);
  }
}

TEST(CommandLineTest, TakesWhatToMeasure) {
  const BenchOptions usual = parse_bench({"config.json"});
  EXPECT_EQ(usual.subject, BenchSubject::Sweeps);
  EXPECT_EQ(usual.config, "config.json");
  EXPECT_EQ(usual.samples.tokens, 1024);
  EXPECT_EQ(usual.samples.num_units(), 1024);
  EXPECT_EQ(usual.job, Job{});
  EXPECT_EQ(usual.json, std::nullopt);

  const BenchOptions other = parse_bench(
      {"--tokens=64",    "folder", "--targets",     "2",        "--units",           "5",
       "--samples",      "3",      "--batches",     "2",        "--layers",          "4",
       "--repeat",       "1",      "--compute",     "float32",  "--dtype",           "float16",
       "--device",       "cpu",    "--suppression", "shifted",  "--factor",          "0.5",
       "--batch-tokens", "256",    "--json",        "out.json", "--tensor-parallel", "2"});
  EXPECT_EQ(other.config, "folder");
  EXPECT_EQ(other.samples.tokens, 64);
  EXPECT_EQ(other.samples.targets, 2);
  EXPECT_EQ(other.samples.num_units(), 5);
  EXPECT_EQ(other.samples.count, 3);
  EXPECT_EQ(other.batches, 2);
  EXPECT_EQ(other.layers, 4);
  EXPECT_EQ(other.repeat, 1);
  EXPECT_EQ(other.job.model.compute, "float32");
  EXPECT_EQ(other.job.model.dtype, "float16");
  EXPECT_EQ(other.job.parallel.device, "cpu");
  EXPECT_EQ(other.job.parallel.tensor_parallel, 2);
  EXPECT_EQ(other.job.parallel.batch_tokens, 256);
  EXPECT_EQ(other.job.explain.suppression.kind, SuppressionKind::Shifted);
  EXPECT_EQ(other.job.explain.suppression.factor, 0.5);
  EXPECT_EQ(other.json, "out.json");

  EXPECT_EQ(parse_bench({"--collectives"}).subject, BenchSubject::Collectives);
}

TEST(CommandLineTest, RefusesWhatCannotBeMeasured) {
  EXPECT_EQ(
      refusal({"bench"}),
      "limn bench: a config.json or a folder with one expected; see limn bench --help");
  EXPECT_EQ(
      refusal({"bench", "x", "--repeat", "0"}),
      "limn bench: --repeat must be a whole number of at least 1; see limn bench --help: 0");
  EXPECT_EQ(
      refusal({"bench", "x", "--tokens", "8", "--units", "9"}),
      "limn bench: --units must be at most --tokens; see limn bench --help: 9 of 8");
  EXPECT_EQ(
      refusal({"bench", "x", "--factor", "-1"}),
      "limn bench: --factor must be a number of at least 0; see limn bench --help: -1");
  EXPECT_EQ(
      refusal({"bench", "x", "--batch-tokens", "many"}),
      "limn bench: --batch-tokens must be a whole number of at least 1; see limn bench --help: "
      "many");
  EXPECT_THAT(
      refusal({"bench", "x", "--compute", "float8"}),
      HasSubstr(
          "limn bench: --compute must be auto, float32, bfloat16, bfloat16_delta or fp8_delta"));
  EXPECT_EQ(
      refusal({"bench", "x", "--collectives"}),
      "limn bench: no config is read with --collectives; see limn bench --help: x");
  EXPECT_EQ(
      refusal({"bench", "x", "--token", "8"}),
      "limn bench: unknown flag, did you mean --tokens; see limn bench --help: --token");
  EXPECT_EQ(
      refusal({"bench", "x", "--tokens"}),
      "limn bench: --tokens needs a value; see limn bench --help");
}

TEST(CommandLineTest, TakesWhatToSubmit) {
  const auto parse_plan = [](std::vector<const char*> arguments) {
    arguments.insert(arguments.begin(), "plan");
    return std::get<PlanCommand>(parse(std::move(arguments))).options;
  };
  const SubmissionOptions usual = parse_plan({"job.toml", "--sbatch", "job.sbatch"});
  EXPECT_EQ(usual.job_path, "job.toml");
  EXPECT_EQ(usual.sbatch, "job.sbatch");
  EXPECT_EQ(usual.launcher, Launcher::Srun);
  EXPECT_EQ(usual.nodes, 1);
  EXPECT_EQ(usual.ranks_per_node, std::nullopt);
  EXPECT_EQ(usual.time, "04:00:00");
  EXPECT_EQ(usual.max_restarts, 20);
  EXPECT_EQ(usual.array, std::nullopt);

  const SubmissionOptions other = parse_plan(
      {"job.toml", "--sbatch",         "s",       "--launcher",     "mpirun", "--nodes",
       "2",        "--time",           "1-0",     "--max-restarts", "0",      "--ranks-per-node",
       "3",        "--array",          "8",       "--warn",         "0",      "--gpus-per-node",
       "0",        "--option",         "--mem=1", "--option",       "-x",     "--partition",
       "gpu",      "--account",        "a",       "--job-name",     "n",      "--cpus-per-rank",
       "7",        "--explain.factor", "0.5"});
  EXPECT_EQ(other.launcher, Launcher::Mpirun);
  EXPECT_EQ(other.nodes, 2);
  EXPECT_EQ(other.time, "1-0");
  EXPECT_EQ(other.max_restarts, 0);
  EXPECT_EQ(other.ranks_per_node, 3);
  EXPECT_EQ(other.gpus_per_node, 0);
  EXPECT_EQ(other.cpus_per_rank, 7);
  EXPECT_EQ(other.array, 8);
  EXPECT_EQ(other.warning_s, 0);
  EXPECT_THAT(other.sbatch_options, ElementsAre("--mem=1", "-x"));
  EXPECT_EQ(other.partition, "gpu");
  EXPECT_EQ(other.account, "a");
  EXPECT_EQ(other.name, "n");
  EXPECT_THAT(other.overrides, ElementsAre(is_override("explain.factor", "0.5")));

  EXPECT_EQ(
      refusal({"plan", "job.toml"}),
      "limn plan: --sbatch FILE expected, the script to write; see limn plan --help");
  EXPECT_EQ(
      refusal({"plan", "job.toml", "--sbatch", "s", "--launcher", "ssh"}),
      "limn plan: --launcher must be one of srun, mpirun; see limn plan --help: ssh");
}

TEST(CommandLineTest, TakesWhatToMerge) {
  const MergeOptions options =
      std::get<MergeCommand>(parse({"merge", "o.h5", "a", "b.h5"})).options;
  EXPECT_EQ(options.result, "o.h5");
  EXPECT_THAT(options.inputs, ElementsAre("a", "b.h5"));
  EXPECT_EQ(
      refusal({"merge", "o.h5"}),
      "limn merge: the file to write and run directories or relevance files expected; see limn "
      "merge --help");
  EXPECT_EQ(
      refusal({"merge", "o.h5", "a", "--force"}),
      "limn merge: unknown flag; see limn merge --help: --force");
}

TEST(CommandLineTest, NamesTheFlagThatWasMeant) {
  EXPECT_EQ(
      refusal({"run", "job.toml", "--explain.supression", "shifted"}),
      "limn run: unknown flag, did you mean --explain.suppression; see limn run --help: "
      "--explain.supression");
  EXPECT_EQ(
      refusal({"run", "job.toml", "--batch_tokens=3"}),
      "limn run: unknown flag, did you mean --parallel.batch_tokens; see limn run --help: "
      "--batch_tokens");
  EXPECT_EQ(
      refusal({"show", "x", "--colour", "never"}),
      "limn show: unknown flag, did you mean --color; see limn show --help: --colour");
  EXPECT_EQ(
      refusal({"show", "x", "--batch_tokens", "3"}),
      "limn show: unknown flag; see limn show --help: --batch_tokens");
  EXPECT_EQ(
      refusal({"--verison"}),
      "limn: unknown flag, did you mean --version; see limn --help: --verison");
}

TEST(CommandLineTest, NamesTheCommandThatWasMeant) {
  EXPECT_EQ(
      refusal({"rnu", "job.toml"}),
      "limn: unknown command, did you mean run; see limn --help: rnu");
  EXPECT_EQ(
      refusal({"job.toml"}),
      "limn: unknown command, expected run, show, status, plan, merge or bench; see limn --help: "
      "job.toml");
  EXPECT_EQ(
      refusal({}),
      "limn: a command expected, run, show, status, plan, merge or bench; see limn --help");
}

TEST(CommandLineTest, RefusesArgumentsThatAreMissingOrTooMany) {
  EXPECT_EQ(refusal({"run"}), "limn run: a job file expected; see limn run --help");
  EXPECT_EQ(
      refusal({"run", "a.toml", "b.toml"}),
      "limn run: only a job file expected; see limn run --help: b.toml");
  EXPECT_EQ(
      refusal({"show"}),
      "limn show: a run directory or a relevance file expected; see limn show --help");
  EXPECT_EQ(
      refusal({"run", "a.toml", "show"}),
      "limn run: only a job file expected; see limn run --help: show");
  EXPECT_EQ(
      refusal({"run", "a.toml", "--explain.factor"}),
      "limn run: --explain.factor needs a value; see limn run --help");
}

TEST(CommandLineTest, AnswersHelpAndVersionWhateverElseIsWrong) {
  EXPECT_EQ(std::get<HelpRequest>(parse({"--help"})).text, program_help());
  EXPECT_EQ(std::get<HelpRequest>(parse({"run", "--help", "--zebra"})).text, run_help());
  EXPECT_EQ(std::get<HelpRequest>(parse({"show", "-h"})).text, show_help());
  EXPECT_THAT(
      std::get<VersionRequest>(parse({"--version"})).text,
      testing::MatchesRegex("limn [0-9]+\\.[0-9]+\\.[0-9]+\n"));
  EXPECT_THAT(std::get<VersionRequest>(parse({"run", "--version"})).text, HasSubstr("limn "));
}

TEST(HelpTextTest, ReadsAsItDid) {
  expect_snapshot("program_help.txt", program_help());
  expect_snapshot("run_help.txt", run_help());
  expect_snapshot("show_help.txt", show_help());
  expect_snapshot("status_help.txt", status_help());
  expect_snapshot("bench_help.txt", bench_help());
  expect_snapshot("plan_help.txt", plan_help());
  expect_snapshot("merge_help.txt", merge_help());
}

TEST(HelpTextTest, FitsIntoEightyColumns) {
  std::istringstream lines(
      program_help() + run_help() + show_help() + status_help() + bench_help() + plan_help() +
      merge_help());
  for (std::string line; std::getline(lines, line);)
    EXPECT_LE(line.size(), 80U) << line;
}

}  // namespace
}  // namespace limn::test
