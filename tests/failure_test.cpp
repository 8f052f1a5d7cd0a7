// What ends a run before its time: partners that hang or die, a failing rank, too little time.

#include <signal.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "storage/relevance_file.h"
#include "tests/limn_program.h"
#include "tests/temporary_folder.h"

namespace limn::test {

namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::SizeIs;

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

using Arguments = std::vector<std::string>;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// The example with so many copies of its prompts that it takes some seconds, in small batches.
class FailureTest : public testing::Test {
 protected:
  FailureTest() {
    std::string many;
    for (int copy = 0; copy < 20; ++copy) {
      for (const std::string& line :
           lines_with(read_bytes("launch/examples/stories260K/prompts.jsonl"), "{")) {
        nlohmann::json record = nlohmann::json::parse(line);
        record["id"] = record["id"].get<std::string>() + "-" + std::to_string(copy);
        many += record.dump() + "\n";
      }
    }
    write_bytes(folder_ / "many.jsonl", many);
  }

  Arguments run_arguments(const Arguments& more) const {
    Arguments arguments{
        "run",
        "launch/examples/stories260K/job.toml",
        "--data.path",
        (folder_ / "many.jsonl").string(),
        "--output.path",
        (folder_ / "run").string(),
        "--parallel.batch_tokens",
        "200",
        "--checkpoint.interval_s",
        "0.1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }

  // Whether a part is sealed, waiting for it up to a minute.
  bool has_sealed() const {
    for (int i = 0; i < 3000; ++i) {
      const fs::path parts = folder_ / "run/parts";
      if (fs::exists(parts)) {
        for (const auto& entry : fs::directory_iterator(parts))
          if (entry.path().extension() == ".h5") return true;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return false;
  }

  // The process of a rank of the run in this test's folder; 0: there is none.
  pid_t process_of_rank(int rank) const {
    const std::string rank_variable = "OMPI_COMM_WORLD_RANK=" + std::to_string(rank);
    for (const auto& entry : fs::directory_iterator("/proc")) {
      const std::string name = entry.path().filename().string();
      if (name.find_first_not_of("0123456789") != std::string::npos) continue;
      if (!contains(entry.path() / "cmdline", (folder_ / "run").string())) continue;
      if (contains(entry.path() / "environ", rank_variable)) return std::stoi(name);
    }
    return 0;
  }

  static bool contains(const fs::path& file, const std::string& text) {
    std::ifstream stream(file, std::ios::binary);  // of a process that may be gone
    const std::string bytes{std::istreambuf_iterator<char>(stream), {}};
    return bytes.find(text) != std::string::npos;
  }

  void expect_to_go_on() const {
    const ProgramResult rest = run_to_end(limn_on_ranks(2, run_arguments({})));
    EXPECT_EQ(rest.exit_code, 0) << rest.output;
  }

  TemporaryFolder folder_;
};

}  // namespace

TEST_F(FailureTest, NamesTheRankThatHangs) {
  RunningProgram program(limn_on_ranks(
      3, run_arguments({"--parallel.tensor_parallel", "3", "--parallel.timeout_s", "1"})));
  ASSERT_TRUE(has_sealed());
  const pid_t halted = process_of_rank(1);
  ASSERT_NE(halted, 0);
  kill(halted, SIGSTOP);
  const auto start = Clock::now();
  EXPECT_EQ(program.exit_code(), 70);
  // A second of patience, three for the others' answers, five for the end.
  EXPECT_LT(seconds_since(start), 20);
  EXPECT_THAT(
      program.output(),
      AllOf(
          HasSubstr("have not come to a collective for 1 s"),
          HasSubstr("patience): rank 1 on "),
          HasSubstr(", which does not answer")));
}

TEST_F(FailureTest, EndsWithARankThatIsKilled) {
  for (const char* tensor_parallel : {"1", "2"}) {
    fs::remove_all(folder_ / "run");
    RunningProgram program(
        limn_on_ranks(2, run_arguments({"--parallel.tensor_parallel", tensor_parallel})));
    ASSERT_TRUE(has_sealed());
    const pid_t victim = process_of_rank(1);
    ASSERT_NE(victim, 0);
    kill(victim, SIGKILL);
    const auto start = Clock::now();
    EXPECT_NE(program.exit_code(), 0);
    EXPECT_LT(seconds_since(start), 10);
    EXPECT_EQ(process_of_rank(0), 0);
  }
}

TEST_F(FailureTest, SaysWhichBatchAndSamplesARankFailedAt) {
  // Weights that are read for every sweep, from a file that becomes shorter.
  fs::copy("launch/examples/stories260K/model", folder_ / "model");
  const fs::path weights = folder_ / "model/model.safetensors";
  RunningProgram program(limn_on_ranks(
      2,
      run_arguments(
          {"--model.path", (folder_ / "model").string(), "--model.placement", "streamed"})));
  ASSERT_TRUE(has_sealed());
  const auto start = Clock::now();
  fs::resize_file(weights, fs::file_size(weights) / 2);
  EXPECT_EQ(program.exit_code(), 74);
  EXPECT_LT(seconds_since(start), 10);
  const auto errors = lines_with(program.output(), "[error]");
  ASSERT_FALSE(errors.empty());
  EXPECT_THAT(
      errors.front(),
      AllOf(
          HasSubstr("[rank "),
          HasSubstr("batch "),
          HasSubstr("sample"),
          HasSubstr(", on node "),
          HasSubstr(weights.string())));
}

TEST_F(FailureTest, StopsInTimeForMaxHours) {
  const auto start = Clock::now();
  // Two seconds and a half from its start on, of which it needs one to load.
  const ProgramResult stopped =
      run_to_end(limn_on_ranks(2, run_arguments({"--max-hours", "0.0007"})));
  EXPECT_EQ(stopped.exit_code, 75) << stopped.output;
  EXPECT_LT(seconds_since(start), 10);
  EXPECT_THAT(stopped.output, HasSubstr("asked to stop by the time, too short for another batch"));
  EXPECT_THAT(lines_with(stopped.output, "[error]"), SizeIs(0));
  EXPECT_FALSE(fs::exists(folder_ / "run/relevance.h5"));
  expect_to_go_on();
}

}  // namespace limn::test
