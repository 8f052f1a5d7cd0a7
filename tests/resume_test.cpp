// A run that is killed or stopped goes on where it was, to the same file.

#include <signal.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <initializer_list>
#include <iterator>
#include <set>
#include <string>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "storage/relevance_file.h"
#include "tests/limn_program.h"
#include "tests/temporary_folder.h"

namespace limn::test {

namespace {

using testing::HasSubstr;
using testing::SizeIs;

// Enough copies of the example's prompts, in small batches, to be interrupted in the middle.
class ResumeTest : public testing::Test {
 protected:
  ResumeTest() {
    const std::string prompts = read_bytes("launch/examples/stories260K/prompts.jsonl");
    std::string many;
    for (int copy = 0; copy < 16; ++copy) {
      for (const std::string& line : lines_with(prompts, "{")) {
        nlohmann::json record = nlohmann::json::parse(line);
        record["id"] = record["id"].get<std::string>() + "-" + std::to_string(copy);
        many += record.dump() + "\n";
      }
    }
    write_bytes(folder / "many.jsonl", many);
  }

  std::vector<std::string> command(
      const std::string& run, const char* interval_s, int ranks = 2) const {
    return limn_on_ranks(
        ranks,
        {"run",
         "launch/examples/stories260K/job.toml",
         "--data.path",
         (folder / "many.jsonl").string(),
         "--output.path",
         (folder / run).string(),
         "--parallel.batch_tokens",
         "200",
         "--checkpoint.interval_s",
         interval_s});
  }

  // Of all sealed parts, each batch once: EXPECTs that none was computed twice.
  std::set<std::int64_t> sealed_batches(const std::string& run) const {
    std::set<std::int64_t> batches;
    const std::filesystem::path parts = folder / (run + "/parts");
    if (!std::filesystem::exists(parts)) return batches;
    for (const auto& entry : std::filesystem::directory_iterator(parts)) {
      const std::string name = entry.path().filename().string();
      if (!name.starts_with("part-") || entry.path().extension() != ".h5") continue;
      for (const std::int64_t batch : RelevanceReader(entry.path()).part_batch_ids()) {
        EXPECT_TRUE(batches.insert(batch).second) << "batch " << batch << " was computed twice";
      }
    }
    return batches;
  }

  // Waits until the run has sealed more than `num_batches`, or has ended.
  void wait_for_seals(const std::string& run, std::size_t num_batches) const {
    for (int i = 0; i < 3000; ++i) {
      if (sealed_batches(run).size() > num_batches) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    FAIL() << "nothing was sealed in a minute";
  }

  // Goes on until the end and compares with a run that nobody disturbed.
  void expect_same_result(const std::string& run) const {
    const ProgramResult rest = run_to_end(command(run, "60"));
    ASSERT_EQ(rest.exit_code, 0) << rest.output;
    sealed_batches(run);
    // Byte for byte: the interval is the only difference between the two jobs, and the job of the
    // first start is the one that is kept.
    const RelevanceReader disturbed(folder / (run + "/relevance.h5"));
    const std::vector<SampleRecord>& undisturbed = undisturbed_result();
    ASSERT_EQ(disturbed.num_samples(), std::ssize(undisturbed));
    for (std::int64_t i = 0; i < disturbed.num_samples(); ++i) {
      const SampleRecord a = disturbed.read(i);
      const SampleRecord& b = undisturbed[static_cast<std::size_t>(i)];
      EXPECT_EQ(a.id, b.id);
      EXPECT_EQ(a.units, b.units);
      EXPECT_EQ(a.delta, b.delta) << a.id;
      for (std::size_t k = 0; k < a.targets.size(); ++k) {
        EXPECT_EQ(a.targets[k].log_prob, b.targets[k].log_prob) << a.id;
      }
    }
  }

  // Of the first test that asks: all have the same dataset.
  const std::vector<SampleRecord>& undisturbed_result() const {
    static std::vector<SampleRecord> samples;
    if (!samples.empty()) return samples;
    EXPECT_EQ(run_to_end(command("undisturbed", "60")).exit_code, 0);
    const RelevanceReader reader(folder / "undisturbed/relevance.h5");
    for (std::int64_t i = 0; i < reader.num_samples(); ++i)
      samples.push_back(reader.read(i));
    return samples;
  }

  TemporaryFolder folder;
};

// The program itself, as a run of one rank.
std::vector<std::string> without_launcher(std::vector<std::string> command) {
  command.erase(command.begin(), std::ranges::find(command, LIMN_PROGRAM));
  return command;
}

}  // namespace

TEST_F(ResumeTest, GivesTheSameBytesAfterAKill) {
  {
    RunningProgram program(command("run", "0.05"));
    wait_for_seals("run", 0);
    program.kill_all();
    program.exit_code();
  }
  ASSERT_EQ(run_to_end(command("run", "0.05")).exit_code, 0);
  const std::string resumed = read_bytes(folder / "run/relevance.h5");
  // The same job in the same place, undisturbed.
  std::filesystem::remove_all(folder / "run");
  ASSERT_EQ(run_to_end(command("run", "0.05")).exit_code, 0);
  EXPECT_EQ(read_bytes(folder / "run/relevance.h5"), resumed);
}

TEST_F(ResumeTest, GoesOnWithAnotherNumberOfRanks) {
  for (const int ranks : {4, 1, 3}) {
    const std::size_t before = sealed_batches("run").size();
    RunningProgram program(command("run", "0.05", ranks));
    wait_for_seals("run", before);
    program.kill_all();
    program.exit_code();
  }
  expect_same_result("run");
}

TEST_F(ResumeTest, RefusesOtherTensorRanks) {
  // They add up in another order.
  {
    RunningProgram program(command("run", "0.05"));
    wait_for_seals("run", 0);
    program.kill_all();
    program.exit_code();
  }
  auto other = command("run", "0.05");
  other.insert(other.end(), {"--parallel.tensor_parallel", "2"});
  const ProgramResult refused = run_to_end(other);
  EXPECT_EQ(refused.exit_code, 78);
  EXPECT_THAT(refused.output, HasSubstr("begun with another parallel.tensor_parallel"));
  expect_same_result("run");
}

TEST_F(ResumeTest, FinishesThePartOnSigusr1) {
  RunningProgram program(command("run", "0.05"));
  wait_for_seals("run", 0);
  program.signal(SIGUSR1);
  EXPECT_EQ(program.exit_code(), 75) << program.output();
  EXPECT_THAT(program.output(), HasSubstr("stopped"));
  EXPECT_FALSE(std::filesystem::exists(folder / "run/relevance.h5"));
  expect_same_result("run");
}

TEST_F(ResumeTest, FinishesThePartWhenAStopFileAppears) {
  RunningProgram program(command("run", "0.05"));
  wait_for_seals("run", 0);
  write_bytes(folder / "run/stop", "");
  EXPECT_EQ(program.exit_code(), 75) << program.output();
  EXPECT_FALSE(std::filesystem::exists(folder / "run/stop"));
  expect_same_result("run");
}

TEST_F(ResumeTest, KeepsWhatIsCompleteOnSigterm) {
  RunningProgram program(command("run", "0.5"));
  wait_for_seals("run", 0);
  // In the middle between two seals: what is found afterwards was sealed because of the signal.
  std::this_thread::sleep_for(std::chrono::milliseconds(250));
  const std::size_t num_before = sealed_batches("run").size();
  program.signal(SIGTERM);
  // mpirun itself returns 1 when it is told to end, whatever the ranks return.
  EXPECT_NE(program.exit_code(), 0);
  EXPECT_THAT(program.output(), HasSubstr("stopped"));
  EXPECT_GT(sealed_batches("run").size(), num_before);
  expect_same_result("run");
}

TEST_F(ResumeTest, ReturnsSeventyFiveOnSigtermOfTheRanks) {
  // A launcher in between would return 1 of its own.
  const std::vector<std::string> alone = without_launcher(command("run", "0.1"));
  RunningProgram program(alone);
  wait_for_seals("run", 0);
  program.signal(SIGTERM);
  EXPECT_EQ(program.exit_code(), 75) << program.output();
  const std::size_t num_sealed = sealed_batches("run").size();
  EXPECT_GT(num_sealed, 0U);
  const ProgramResult rest = run_to_end(alone);
  EXPECT_EQ(rest.exit_code, 0) << rest.output;
  EXPECT_GT(sealed_batches("run").size(), num_sealed);
}

TEST_F(ResumeTest, GoesOnWithTheModelsAnswers) {
  // Without a launcher, whose ranks outlive it by a moment.
  const auto generating = [&](const std::string& run) {
    std::vector<std::string> arguments = without_launcher(command(run, "60"));
    for (const char* argument :
         {"--explain.target", "generate", "--explain.max_new_tokens", "100", "--data.limit", "60"})
      arguments.emplace_back(argument);
    return arguments;
  };
  const auto num_answers = [&] {
    const std::filesystem::path answers = folder / "run/targets.jsonl";
    return std::filesystem::exists(answers) ? lines_with(read_bytes(answers), "{").size() : 0;
  };
  for (const int signal : {SIGKILL, SIGUSR1}) {
    const std::size_t before = num_answers();
    RunningProgram program(generating("run"));
    for (int i = 0; i < 3000 && num_answers() == before; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    program.signal(signal);
    EXPECT_EQ(program.exit_code(), signal == SIGKILL ? -1 : 75) << program.output();
    EXPECT_GT(num_answers(), before);
    EXPECT_LT(num_answers(), 60U);
  }
  ASSERT_EQ(run_to_end(generating("run")).exit_code, 0);
  const std::string answers = read_bytes(folder / "run/targets.jsonl");
  const std::string resumed = read_bytes(folder / "run/relevance.h5");
  std::filesystem::remove_all(folder / "run");
  ASSERT_EQ(run_to_end(generating("run")).exit_code, 0);
  EXPECT_EQ(read_bytes(folder / "run/targets.jsonl"), answers);
  EXPECT_EQ(read_bytes(folder / "run/relevance.h5"), resumed);
}

TEST_F(ResumeTest, RefusesASecondRunBesideTheFirst) {
  RunningProgram program(without_launcher(command("run", "0.05")));
  wait_for_seals("run", 0);
  // Halted, or it could end while the second one waits for it.
  program.signal(SIGSTOP);
  const ProgramResult second = run_to_end(command("run", "0.05"));
  EXPECT_EQ(second.exit_code, 74);
  EXPECT_THAT(lines_with(second.output, "[error]"), SizeIs(1));
}

TEST_F(ResumeTest, RefusesAnotherJobInTheSameDirectory) {
  {
    RunningProgram program(command("run", "0.05"));
    wait_for_seals("run", 0);
    program.kill_all();
    program.exit_code();
  }
  auto other = command("run", "0.05");
  other.insert(other.end(), {"--explain.factor", "0.5"});
  const ProgramResult refused = run_to_end(other);
  EXPECT_EQ(refused.exit_code, 78);
  EXPECT_THAT(refused.output, HasSubstr("explain.factor"));
  expect_same_result("run");
}

TEST_F(ResumeTest, RefusesARunOfAnotherPlan) {
  {
    RunningProgram program(command("run", "0.05"));
    wait_for_seals("run", 0);
    program.kill_all();
    program.exit_code();
  }
  // As limn wrote it before it had a second plan, without a checksum.
  const std::filesystem::path path = folder / "run/manifest.json";
  nlohmann::json manifest = nlohmann::json::parse(read_bytes(path));
  ASSERT_EQ(manifest["fingerprint"].erase("plan"), 1U);
  manifest["format_version"] = 1;
  write_bytes(path, manifest.dump());
  const ProgramResult refused = run_to_end(command("run", "0.05"));
  EXPECT_EQ(refused.exit_code, 78);
  EXPECT_THAT(refused.output, HasSubstr("begun with another plan"));
}

namespace {

// The names of the sealed parts.
std::set<std::string> part_names(const std::filesystem::path& run) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(run / "parts")) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("part-") && name.ends_with(".h5")) names.insert(name);
  }
  return names;
}

std::string first_lines(const std::string& text, std::size_t count) {
  std::size_t end = 0;
  for (std::size_t i = 0; i < count; ++i)
    end = text.find('\n', end) + 1;
  return text.substr(0, end);
}

std::vector<std::string> with(
    std::vector<std::string> command, std::initializer_list<const char*> arguments) {
  command.insert(command.end(), arguments.begin(), arguments.end());
  return command;
}

}  // namespace

// Killed while it computes what was added, too.
TEST_F(ResumeTest, GoesOnWithADatasetThatHasGrown) {
  const std::string whole = first_lines(read_bytes(folder / "many.jsonl"), 100);
  // The last batch has room for the next sample.
  write_bytes(folder / "many.jsonl", first_lines(whole, 41));
  const auto job =
      with(without_launcher(command("run", "0.02")), {"--parallel.batch_tokens", "1500"});
  ASSERT_EQ(run_to_end(job).exit_code, 0);
  const std::string before = read_bytes(folder / "run/relevance.h5");
  const std::set<std::string> parts_before = part_names(folder / "run");

  write_bytes(folder / "many.jsonl", whole);
  const ProgramResult refused = run_to_end(job);
  EXPECT_EQ(refused.exit_code, 78);
  EXPECT_THAT(refused.output, HasSubstr("the dataset has grown since the run began; go on with"));
  {
    RunningProgram program(with(job, {"--extend"}));
    const auto has_new_parts = [&] {
      return !std::ranges::includes(parts_before, part_names(folder / "run"));
    };
    for (int i = 0; i < 3000 && !has_new_parts(); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    EXPECT_TRUE(has_new_parts());
    program.kill_all();
    program.exit_code();
  }
  EXPECT_EQ(read_bytes(folder / "run/earlier-001/relevance.h5"), before);
  const ProgramResult rest = run_to_end(job);
  ASSERT_EQ(rest.exit_code, 0) << rest.output;
  // All but the last batches of the smaller dataset were not computed again.
  std::set<std::string> kept;
  std::ranges::set_intersection(
      parts_before, part_names(folder / "run"), std::inserter(kept, kept.end()));
  EXPECT_GT(kept.size() + 4, parts_before.size());
  EXPECT_LT(kept.size(), parts_before.size());
  sealed_batches("run");
  const std::string extended = read_bytes(folder / "run/relevance.h5");
  // The same job over all of it.
  const ProgramResult fresh = run_to_end(with(job, {"--fresh"}));
  ASSERT_EQ(fresh.exit_code, 0) << fresh.output;
  EXPECT_EQ(read_bytes(folder / "run/relevance.h5"), extended);
  EXPECT_EQ(read_bytes(folder / "run/earlier-002/relevance.h5"), extended);
}

TEST_F(ResumeTest, GoesOnWithADatasetOfMoreFilesAndTheModelsAnswers) {
  const std::string lines = first_lines(read_bytes(folder / "many.jsonl"), 50);
  std::filesystem::remove(folder / "many.jsonl");
  std::filesystem::create_directory(folder / "many.jsonl");
  write_bytes(folder / "many.jsonl/a.jsonl", first_lines(lines, 30));
  const auto job = with(
      without_launcher(command("run", "0.05")),
      {"--explain.target", "generate", "--explain.max_new_tokens", "20"});
  ASSERT_EQ(run_to_end(job).exit_code, 0);
  const std::string answers = read_bytes(folder / "run/targets.jsonl");
  write_bytes(folder / "many.jsonl/b.jsonl", lines.substr(first_lines(lines, 30).size()));
  const ProgramResult extended = run_to_end(with(job, {"--extend"}));
  ASSERT_EQ(extended.exit_code, 0) << extended.output;
  const std::string more_answers = read_bytes(folder / "run/targets.jsonl");
  EXPECT_EQ(lines_with(more_answers, "{").size(), 50U);
  // All but those of the batch that now has more prompts.
  EXPECT_TRUE(more_answers.starts_with(first_lines(answers, 20)));
  const std::string result = read_bytes(folder / "run/relevance.h5");
  ASSERT_EQ(run_to_end(with(job, {"--fresh"})).exit_code, 0);
  EXPECT_EQ(read_bytes(folder / "run/targets.jsonl"), more_answers);
  EXPECT_EQ(read_bytes(folder / "run/relevance.h5"), result);
}

// What a disk, or somebody, does to the parts.
TEST_F(ResumeTest, ComputesAgainWhatWasDamagedOrDeleted) {
  const auto job = with(without_launcher(command("run", "0.02")), {"--data.limit", "40"});
  ASSERT_EQ(run_to_end(job).exit_code, 0);
  const std::string result = read_bytes(folder / "run/relevance.h5");
  const std::set<std::string> names = part_names(folder / "run");
  ASSERT_GT(names.size(), 3U);
  const std::filesystem::path parts = folder / "run/parts";
  auto name = names.begin();
  std::string bytes = read_bytes(parts / *name);
  bytes[bytes.size() / 2] ^= 4;
  write_bytes(parts / *name, bytes);
  std::filesystem::resize_file(parts / *++name, 100);
  std::filesystem::remove(parts / *++name);
  std::filesystem::resize_file(folder / "run/relevance.h5", result.size() / 2);
  const ProgramResult mended = run_to_end(job);
  ASSERT_EQ(mended.exit_code, 0) << mended.output;
  EXPECT_THAT(lines_with(mended.output, "its batches are computed again"), SizeIs(3));
  EXPECT_THAT(lines_with(mended.output, "it is merged anew"), SizeIs(1));
  EXPECT_THAT(lines_with(read_bytes(folder / "run/limn.log"), "computed again"), SizeIs(3));
  EXPECT_EQ(read_bytes(folder / "run/relevance.h5"), result);
  EXPECT_TRUE(std::filesystem::exists(parts / ("damaged-" + *names.begin())));
}

}  // namespace limn::test
