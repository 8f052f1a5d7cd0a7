#include "launch/plan_command.h"

#include <filesystem>
#include <sstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/error.h"
#include "tests/temporary_folder.h"

namespace limn::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::ThrowsMessage;

class PlanCommandTest : public testing::Test {
 protected:
  PlanCommandTest() {
    write_bytes(
        options.job_path,
        "[model]\npath = \"m\"\n[data]\npath = \"d.jsonl\"\n[output]\npath = \"runs/the run\"\n");
  }

  // Returns what it says.
  std::string planned() {
    std::ostringstream out;
    plan(options, out);
    return out.str();
  }

  std::string script() {
    planned();
    return read_bytes(options.sbatch);
  }

  auto planning() {
    return [this] { planned(); };
  }

  TemporaryFolder folder;
  SubmissionOptions options{.job_path = folder / "job.toml", .sbatch = folder / "job.sbatch"};
};

auto refused(const std::string& text) {
  return ThrowsMessage<UsageError>(HasSubstr(text));
}

TEST_F(PlanCommandTest, NamesThisProgramAndThisFolder) {
  const std::string here = std::filesystem::current_path().string();
  const std::string program = std::filesystem::read_symlink("/proc/self/exe").string();
  EXPECT_THAT(
      script(),
      AllOf(
          HasSubstr("\nlimn='" + program + "'\n"),
          HasSubstr("\ncd '" + here + "' || exit 74\n"),
          HasSubstr("\nrun='" + here + "/runs/the run'\n"),
          HasSubstr("run '" + options.job_path.string() + "')\n"),
          HasSubstr("--job-name=limn-the-run\n")));
}

TEST_F(PlanCommandTest, HasARankForEachGpuOrAGroupOnEachNode) {
  options.overrides = {{"parallel.tensor_parallel", "2"}};
  EXPECT_THAT(script(), HasSubstr("--nodes=1 --ntasks-per-node=2\n"));
  options.nodes = 3;
  options.gpus_per_node = 4;
  EXPECT_THAT(
      script(),
      AllOf(HasSubstr("--nodes=3 --ntasks-per-node=4\n"), HasSubstr("--gpus-per-node=4")));
  options.gpus_per_node.reset();
  EXPECT_THAT(planned(), HasSubstr("no GPUs are asked for"));
  options.overrides.push_back({"parallel.device", "cuda"});
  EXPECT_THAT(script(), HasSubstr("--gpus-per-node=2"));
  EXPECT_THAT(planned(), Not(HasSubstr("no GPUs")));
}

TEST_F(PlanCommandTest, PassesKeysOn) {
  options.overrides = {{"explain.factor", "0.5"}, {"output.path", "it's"}};
  EXPECT_THAT(
      script(),
      AllOf(
          HasSubstr("'--explain.factor' '0.5' '--output.path' 'it'\\''s')\n"),
          HasSubstr("/it'\\''s'\nmax_restarts")));
}

TEST_F(PlanCommandTest, WarnsLateEnoughForAShortLimit) {
  EXPECT_THAT(script(), HasSubstr("--signal=USR1@180\n"));
  options.time = "2";
  EXPECT_THAT(script(), HasSubstr("--signal=USR1@60\n"));
  options.warning_s = 100;
  EXPECT_THAT(script(), HasSubstr("--signal=USR1@100\n"));
  options.warning_s = 120;
  EXPECT_THAT(planning(), refused("--warn must be fewer seconds than --time"));
}

TEST_F(PlanCommandTest, GivesEveryTaskOfAnArrayItsShardAndFolder) {
  options.array = 8;
  EXPECT_THAT(
      script(),
      AllOf(
          HasSubstr("--array=0-7\n"),
          HasSubstr("/runs/the run'/shard-$SLURM_ARRAY_TASK_ID\n"),
          HasSubstr("--data.shard \"$SLURM_ARRAY_TASK_ID/8\" --output.path \"$run\")\n")));
  EXPECT_THAT(planned(), HasSubstr("/runs/the run'/relevance.h5 "));
  options.overrides = {{"data.shard", "1/8"}};
  EXPECT_THAT(planning(), refused("every task has a data.shard of its own"));
}

TEST_F(PlanCommandTest, RefusesOptionsThatAreNone) {
  options.time = "soon";
  EXPECT_THAT(planning(), refused("--time must be"));
  options.time = "10";
  options.partition = "a b";
  EXPECT_THAT(planning(), refused("--partition must be"));
  options.partition.reset();
  options.sbatch_options = {"mem=64G"};
  EXPECT_THAT(planning(), refused("--option must be one of sbatch's"));
  options.sbatch_options = {"--mem=64G\nrm x"};
  EXPECT_THAT(planning(), refused("--option must be one of sbatch's"));
  EXPECT_FALSE(std::filesystem::exists(options.sbatch));
}

TEST_F(PlanCommandTest, RefusesRanksThatMakeNoGroups) {
  options.overrides = {{"parallel.tensor_parallel", "4"}};
  options.nodes = 3;
  options.ranks_per_node = 2;
  EXPECT_THAT(planning(), refused("multiple of parallel.tensor_parallel"));
}

TEST_F(PlanCommandTest, RefusesAJobThatIsNone) {
  options.overrides = {{"explain.factor", "-1"}};
  EXPECT_THROW(planned(), JobError);
  EXPECT_FALSE(std::filesystem::exists(options.sbatch));
}

TEST_F(PlanCommandTest, ReplacesItsOwnScriptAndNothingElse) {
  planned();
  options.max_restarts = 3;
  EXPECT_THAT(script(), HasSubstr("max_restarts=3\n"));
  options.sbatch = options.job_path;
  const std::string before = read_bytes(options.job_path);
  EXPECT_THAT(planning(), refused("did not write"));
  EXPECT_EQ(read_bytes(options.job_path), before);
}

}  // namespace
}  // namespace limn::test
