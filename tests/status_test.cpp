// `limn status` of runs of the program itself: while they compute, stopped, killed, failed,
// complete.

#include <signal.h>

#include <chrono>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <limits>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "storage/event_log.h"
#include "storage/relevance_file.h"
#include "tests/limn_program.h"
#include "tests/safetensors_writer.h"
#include "tests/temporary_folder.h"

namespace limn::test {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

const std::string kExample = "launch/examples/stories260K";

// Of the example's twenty prompts.
constexpr int kCopies = 6;
constexpr int kNumSamples = 20 * kCopies;

class StatusTest : public testing::Test {
 protected:
  // `limn run` as one process, so that its exit code is its own.
  std::vector<std::string> run(const std::vector<std::string>& arguments) const {
    std::vector<std::string> command = {
        LIMN_PROGRAM, "run", kExample + "/job.toml", "--output.path", run_.string()};
    command.insert(command.end(), arguments.begin(), arguments.end());
    return command;
  }

  // The example's prompts many times, sealed all the time.
  std::vector<std::string> long_run() const {
    std::string many;
    for (int copy = 0; copy < kCopies; ++copy) {
      for (const std::string& line : lines_with(read_bytes(kExample + "/prompts.jsonl"), "{")) {
        json record = json::parse(line);
        record["id"] = fmt::format("{}-{}", record["id"].get<std::string>(), copy);
        many += record.dump() + "\n";
      }
    }
    write_bytes(folder_ / "many.jsonl", many);
    return run(
        {"--data.path",
         (folder_ / "many.jsonl").string(),
         "--parallel.batch_tokens",
         "200",
         "--checkpoint.interval_s",
         "0.05"});
  }

  json status() const {
    const ProgramResult result =
        run_to_end({LIMN_PROGRAM, "status", run_.string(), "--json", "--all"});
    EXPECT_EQ(result.exit_code, 0) << result.output;
    return json::parse(result.output);
  }

  int status_code() const {
    return run_to_end({LIMN_PROGRAM, "status", run_.string(), "--exit-code"}).exit_code;
  }

  std::string status_page() const {
    return run_to_end({LIMN_PROGRAM, "status", run_.string()}).output;
  }

  void wait_for_a_part() const {
    for (int i = 0; i < 3000; ++i) {
      if (!sealed_batches().empty()) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    FAIL() << "nothing was sealed in a minute";
  }

  std::set<std::int64_t> sealed_batches() const {
    std::set<std::int64_t> batches;
    if (!fs::exists(run_ / "parts")) return batches;
    for (const auto& entry : fs::directory_iterator(run_ / "parts")) {
      if (entry.path().extension() != ".h5") continue;
      const auto ids = RelevanceReader(entry.path()).part_batch_ids();
      batches.insert(ids.begin(), ids.end());
    }
    return batches;
  }

  std::vector<std::string> events() const {
    std::vector<std::string> names;
    read_events(
        event_log_path(run_), [&](const json& event) { names.push_back(event.at("event")); });
    return names;
  }

  TemporaryFolder folder_;
  fs::path run_ = folder_ / "run";
};

// The example's model with an output of its own and an embedding of `token` that is no number:
// samples with this token fail, and others do not.
void write_model_without(std::int64_t token, const fs::path& folder) {
  fs::create_directories(folder);
  for (const char* name : {"tokenizer.json", "tokenizer_config.json"})
    fs::copy_file(fs::path(kExample) / "model" / name, folder / name);
  json config = json::parse(read_bytes(kExample + "/model/config.json"));
  config["tie_word_embeddings"] = false;
  write_bytes(folder / "config.json", config.dump());

  const std::string bytes = read_bytes(kExample + "/model/model.safetensors");
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), sizeof header_bytes);
  json header = json::parse(bytes.substr(sizeof header_bytes, header_bytes));
  std::string data = bytes.substr(sizeof header_bytes + header_bytes);
  json output = header.at("model.embed_tokens.weight");
  const auto begin = output["data_offsets"][0].get<std::size_t>();
  const auto end = output["data_offsets"][1].get<std::size_t>();
  output["data_offsets"] = {data.size(), data.size() + (end - begin)};
  header["lm_head.weight"] = output;
  data += data.substr(begin, end - begin);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto hidden = output["shape"][1].get<std::size_t>();
  std::memcpy(
      data.data() + begin + sizeof nan * hidden * static_cast<std::size_t>(token),
      &nan,
      sizeof nan);
  write_bytes(folder / "model.safetensors", safetensors(header.dump(), data));
}

}  // namespace

TEST_F(StatusTest, FollowsARunThatIsStoppedAndContinued) {
  EXPECT_EQ(status_code(), 1);
  const auto command = long_run();
  {
    RunningProgram program(command);
    wait_for_a_part();
    EXPECT_EQ(status()["state"], "running");
    // Halted, or it could end meanwhile.
    program.signal(SIGSTOP);
    const json live = status();
    EXPECT_EQ(status_code(), 2);
    EXPECT_EQ(live["samples"]["total"], kNumSamples);
    EXPECT_GT(live["batches"]["total"], live["batches"]["done"]);
    EXPECT_GT(live["batches"]["done"], 0);
    EXPECT_EQ(live["last_start"]["ranks"], 1);
    EXPECT_GT(live["owner"]["process"], 0);
    EXPECT_EQ(live["owner"]["host"], live["last_start"]["host"]);
    EXPECT_EQ(live["last_end"], nullptr);
    program.signal(SIGUSR1);
    program.signal(SIGCONT);
    EXPECT_EQ(program.exit_code(), 75) << program.output();
  }
  const json stopped = status();
  EXPECT_EQ(stopped["state"], "stopped");
  EXPECT_EQ(status_code(), 75);
  EXPECT_EQ(stopped["owner"], nullptr);
  EXPECT_EQ(stopped["batches"]["done"], sealed_batches().size());
  EXPECT_GT(stopped["samples"]["done"], 0);
  EXPECT_LT(stopped["samples"]["done"], kNumSamples);
  EXPECT_EQ(stopped["last_end"]["exit_code"], 75);
  EXPECT_EQ(stopped["stop_asked_by"], "SIGUSR1");
  EXPECT_THAT(status_page(), HasSubstr("stopped, resumable"));

  ASSERT_EQ(run_to_end(command).exit_code, 0);
  const json complete = status();
  EXPECT_EQ(complete["state"], "complete");
  EXPECT_EQ(status_code(), 0);
  EXPECT_EQ(complete["samples"]["done"], kNumSamples);
  EXPECT_EQ(complete["batches"]["done"], complete["batches"]["total"]);
  EXPECT_EQ(complete["starts"], 2);
  EXPECT_EQ(complete["last_end"]["event"], "done");
  EXPECT_THAT(read_bytes(run_ / "metrics.prom"), HasSubstr("limn_complete{"));
  EXPECT_THAT(status_page(), HasSubstr("120/120 samples"));
}

TEST_F(StatusTest, ARunThatWasKilledIsResumable) {
  RunningProgram program(long_run());
  wait_for_a_part();
  program.kill_all();
  program.exit_code();
  const json killed = status();
  EXPECT_EQ(killed["state"], "stopped");
  EXPECT_EQ(status_code(), 75);
  EXPECT_EQ(killed["last_end"], nullptr);
  EXPECT_EQ(killed["batches"]["done"], sealed_batches().size());
  EXPECT_THAT(status_page(), HasSubstr("the last start was killed"));
}

TEST_F(StatusTest, NamesTheSamplesThatFailed) {
  constexpr std::int64_t kToken = 500;
  write_model_without(kToken, folder_ / "model");
  write_bytes(
      folder_ / "data.jsonl",
      R"({"id": "good", "input_ids": [1, 400, 410, 420], "target_ids": [430]}
{"id": "bad", "input_ids": [1, 400, 500, 420], "target_ids": [430]}
{"id": "fine", "input_ids": [1, 401, 411, 421], "target_ids": [431]}
)");
  const ProgramResult result = run_to_end(run(
      {"--model.path",
       (folder_ / "model").string(),
       "--data.path",
       (folder_ / "data.jsonl").string(),
       "--explain.units",
       "token"}));
  ASSERT_EQ(result.exit_code, 0) << result.output;
  const json found = status();
  EXPECT_EQ(found["state"], "complete");
  EXPECT_EQ(found["samples"], json({{"total", 3}, {"done", 3}, {"failed", 1}, {"skipped", 0}}));
  ASSERT_EQ(found["failed_samples"].size(), 1U);
  EXPECT_EQ(found["failed_samples"][0]["id"], "bad");
  EXPECT_EQ(found["failed_samples"][0]["index"], 1);
  EXPECT_THAT(status_page(), HasSubstr("bad: log-probabilities are not finite"));
  EXPECT_THAT(
      events(), ElementsAre("start", "surveyed", "loaded", "sample_failed", "sealed", "done"));
}

TEST_F(StatusTest, TellsWhyTheLastStartFailed) {
  const std::string good = R"({"id": "a", "prompt": "Once upon a time", "target": " there"})";
  write_bytes(folder_ / "data.jsonl", good + "\n{\"id\": \"b\", \"prompt\": 7}\n");
  const auto command = run({"--data.path", (folder_ / "data.jsonl").string()});
  ASSERT_EQ(run_to_end(command).exit_code, 65);
  const json failed = status();
  EXPECT_EQ(failed["state"], "failed");
  EXPECT_EQ(status_code(), 65);
  EXPECT_THAT(failed["last_end"]["message"].get<std::string>(), HasSubstr("data.jsonl:2"));
  EXPECT_THAT(status_page(), HasSubstr("data.jsonl:2"));

  write_bytes(folder_ / "data.jsonl", good + "\n");
  ASSERT_EQ(run_to_end(command).exit_code, 0);
  EXPECT_EQ(status_code(), 0);
  EXPECT_EQ(status()["starts"], 1) << "the one before left nothing to go on with";
}

}  // namespace limn::test
