#include "launch/sbatch_script.h"

#include <array>
#include <cstdio>
#include <memory>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/snapshot.h"
#include "tests/temporary_folder.h"

namespace limn::test {
namespace {

using testing::HasSubstr;
using testing::Not;

SbatchScript example_script() {
  return {
      .limn = "/opt/limn/bin/limn",
      .mpirun = "mpirun",
      .folder = "/data/project",
      .job = "/data/project/job.toml",
      .flags = {"--explain.factor", "0.5"},
      .run = "/data/project/runs/squad",
      .name = "limn-squad",
      .nodes = 2,
      .ranks_per_node = 4,
      .gpus_per_node = 4,
      .cpus_per_rank = 8,
      .time = "04:00:00",
      .warning_s = 180,
      .partition = "gpu",
      .account = "physics",
      .options = {"--mem=64G"},
      .max_restarts = 20};
}

// What a shell prints that runs `command`.
std::string output_of(const std::string& command) {
  struct Close {
    void operator()(FILE* file) const { ::pclose(file); }
  };

  // NOLINTNEXTLINE(bugprone-command-processor): a shell is what is tested
  const std::unique_ptr<FILE, Close> pipe(::popen(command.c_str(), "r"));
  std::string output;
  std::array<char, 256> text{};
  while (std::fgets(text.data(), text.size(), pipe.get()) != nullptr)
    output += text.data();
  return output;
}

TEST(SbatchScriptTest, ReadsAsItDid) {
  expect_snapshot("srun.sbatch", to_text(example_script()));
  SbatchScript array = example_script();
  array.launcher = Launcher::Mpirun;
  array.gpus_per_node = 0;
  array.cpus_per_rank.reset();
  array.array = 8;
  expect_snapshot("mpirun_array.sbatch", to_text(array));
}

TEST(SbatchScriptTest, IsBash) {
  const TemporaryFolder folder;
  for (const Launcher launcher : {Launcher::Srun, Launcher::Mpirun}) {
    SbatchScript script = example_script();
    script.launcher = launcher;
    script.job = "/data/it's \"mine\"/$HOME`x`\\n.toml";
    write_bytes(folder / "script", to_text(script));
    EXPECT_EQ(output_of("bash -n '" + (folder / "script").string() + "' 2>&1"), "");
  }
}

TEST(SbatchScriptTest, LeavesOutWhatIsNotAskedFor) {
  SbatchScript script = example_script();
  script.warning_s = 0;
  script.gpus_per_node = 0;
  script.partition.reset();
  script.account.reset();
  const std::string text = to_text(script);
  for (const char* option : {"--signal", "--gpus", "--partition", "--account", "--array"})
    EXPECT_THAT(text, Not(HasSubstr(option)));
}

TEST(ShellQuotedTest, IsOneWordOfAShell) {
  for (const std::string text :
       {"plain", "", "two words", "it's", "\"$HOME\" `date` \\ !$ *", "line\nend", "-n"}) {
    EXPECT_EQ(output_of("printf '[%s]' " + shell_quoted(text)), "[" + text + "]");
  }
}

TEST(TimeLimitTest, IsReadAsSlurmReadsIt) {
  EXPECT_EQ(time_limit_s("90"), 90 * 60);
  EXPECT_EQ(time_limit_s("90:30"), 90 * 60 + 30);
  EXPECT_EQ(time_limit_s("04:00:00"), 4 * 3600);
  EXPECT_EQ(time_limit_s("2-12"), 60 * 3600);
  EXPECT_EQ(time_limit_s("1-0:30"), 24 * 3600 + 30 * 60);
  EXPECT_EQ(time_limit_s("1-00:00:05"), 24 * 3600 + 5);
}

TEST(TimeLimitTest, IsNothingElse) {
  for (const char* text : {"", "0", "-1", "1-", "a", "1:x", "1:", ":1", "1:2:3:4", "1 ", "1.5"})
    EXPECT_EQ(time_limit_s(text), std::nullopt) << text;
}

}  // namespace
}  // namespace limn::test
