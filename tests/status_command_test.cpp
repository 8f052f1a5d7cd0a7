#include "launch/status_command.h"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "launch/run_metrics.h"
#include "launch/status_page.h"
#include "launch/visible_text.h"
#include "storage/error.h"
#include "storage/relevance_file.h"
#include "storage/run_owner.h"
#include "tests/sample_records.h"
#include "tests/snapshot.h"
#include "tests/temporary_folder.h"

namespace limn::test {

namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;

constexpr Terminal kFile = {};

SystemTime at(const char* text) {
  return time_of_utc_text(text).value();
}

const SystemTime kNow = at("2026-03-01T12:00:00.000Z");

// Of the worked example some units alone, as a part holds them.
SampleRecord with_units(std::vector<bool> is_measured) {
  SampleRecord record = example_record();
  for (std::size_t unit = 0; unit < is_measured.size(); ++unit) {
    if (!is_measured[unit]) record.delta[unit] = kNaN;
  }
  return record;
}

SampleRecord not_ok(SampleStatus status, std::string id, std::string message) {
  SampleRecord record = example_record();
  record.id = std::move(id);
  record.status = status;
  record.message = std::move(message);
  record.delta = {kNaN, kNaN};
  return record;
}

struct IndexedRecord {
  std::int64_t index;
  SampleRecord record;
};

void write_relevance_file(
    const fs::path& path,
    bool is_complete,
    const std::vector<IndexedRecord>& samples,
    const std::vector<std::int64_t>& batches) {
  RelevanceAttributes attributes = example_attributes();
  attributes.complete = is_complete;
  RelevanceWriter writer(path, attributes);
  std::vector<std::int64_t> indices;
  for (const IndexedRecord& sample : samples) {
    writer.append(sample.record);
    indices.push_back(sample.index);
  }
  std::vector<PartBatch> part_batches;
  for (const std::int64_t batch : batches)
    part_batches.push_back({.id = batch});
  if (!is_complete) writer.write_part_contents(indices, part_batches);
  writer.close();
}

class RunStatusTest : public testing::Test {
 protected:
  RunStatusTest() { fs::create_directories(run_ / "parts"); }

  void write_part(
      int number,
      const std::vector<IndexedRecord>& samples,
      const std::vector<std::int64_t>& batches) const {
    const fs::path path = part_path(number);
    write_relevance_file(path, false, samples, batches);
    const auto written = kNow - std::chrono::seconds(100 - number);
    fs::last_write_time(path, std::chrono::file_clock::from_sys(written));
  }

  fs::path part_path(int number) const {
    return run_ / "parts" / fmt::format("part-{:06}.h5", number);
  }

  void write_events(const std::vector<std::string>& lines) const {
    write_bytes(run_ / "events.jsonl", fmt::format("{}\n", fmt::join(lines, "\n")));
  }

  // Two parts of four batches: of six samples one is done, one for another batch, one open, one
  // failed and one skipped.
  void write_parts() const {
    write_part(0, {{0, example_record()}, {1, with_units({true, false})}}, {0, 1});
    write_part(
        1,
        {{1, with_units({false, true})},
         {2, with_units({true, false})},
         {3, not_ok(SampleStatus::Failed, "bad\x1b[31m", "not finite")},
         {4, not_ok(SampleStatus::Skipped, "long", "too long")}},
        {2, 3});
  }

  RunStatus read() const { return read_run_status(run_, kNow); }

  TemporaryFolder folder_;
  fs::path run_ = folder_ / "run";
};

// As a start writes them that was asked to stop.
const std::vector<std::string> kStoppedEvents = {
    R"({"time":"2026-03-01T11:00:00.000Z","event":"start","continues":false,"version":"0.1.0",)"
    R"("host":"node12","process":4711,"ranks":8,"groups":4,"tensor_parallel":2,)"
    R"("slurm_job_id":"815","slurm_restart_count":"1"})",
    R"({"time":"2026-03-01T11:00:03.000Z","event":"surveyed","samples":6,"skipped":1,"batches":7,)"
    R"("rows":900,"finished_batches":0,"remaining_rows":900,"seconds":2.5})",
    R"({"time":"2026-03-01T11:00:10.000Z","event":"loaded","seconds":7})",
    R"({"time":"2026-03-01T11:01:10.000Z","event":"sealed","part":"part-000000.h5","batches":2,)"
    R"("samples":2,"seconds":0.75})",
    R"({"time":"2026-03-01T11:01:20.000Z","event":"stop_requested","by":"SIGUSR1",)"
    R"("at_once":false})",
    R"({"time":"2026-03-01T11:01:40.000Z","event":"sealed","part":"part-000001.h5","batches":2,)"
    R"("samples":4,"seconds":0.25})",
    R"({"time":"2026-03-01T11:01:40.000Z","event":"stopped","exit_code":75,"batches":4})"};

const std::string kErrorEvent =
    R"({"time":"2026-03-01T11:30:00.000Z","event":"error","exit_code":74,"rank":0,)"
    R"("message":"parts: cannot be written: No space left on device"})";

std::string second_start(std::string_view continues) {
  return fmt::format(
      R"({{"time":"2026-03-01T11:29:00.000Z","event":"start","continues":{},"version":"0.2.0",)"
      R"("host":"node13","process":12,"ranks":1,"groups":1,"tensor_parallel":1}})",
      continues);
}

std::vector<std::string> joined(std::vector<std::string> events, std::vector<std::string> more) {
  events.insert(events.end(), more.begin(), more.end());
  return events;
}

}  // namespace

TEST_F(RunStatusTest, CountsWhatThePartsHold) {
  write_parts();
  write_events(kStoppedEvents);
  const RunStatus status = read();
  EXPECT_EQ(status.state, RunState::Stopped);
  EXPECT_EQ(status.samples_done, 4);
  EXPECT_EQ(status.samples_failed, 1);
  EXPECT_EQ(status.samples_skipped, 1);
  EXPECT_EQ(status.num_samples, 6);
  EXPECT_EQ(status.batches_done, 4);
  EXPECT_EQ(status.history.num_batches, 7);
  ASSERT_THAT(status.failures, SizeIs(1));
  EXPECT_EQ(status.failures[0].index, 3);
  EXPECT_EQ(status.failures[0].message, "not finite");
  EXPECT_EQ(status.num_parts, 2);
  EXPECT_EQ(
      status.part_bytes,
      static_cast<std::int64_t>(fs::file_size(part_path(0)) + fs::file_size(part_path(1))));
  EXPECT_EQ(
      status.bytes,
      status.part_bytes + static_cast<std::int64_t>(fs::file_size(run_ / "events.jsonl")));
  EXPECT_EQ(status.last_sealed, kNow - std::chrono::seconds(99));
  EXPECT_EQ(exit_code_of(status), 75);
}

TEST_F(RunStatusTest, SumsUpTheEventsOfAllStarts) {
  write_parts();
  write_events(joined(kStoppedEvents, {second_start("true"), kErrorEvent}));
  const RunHistory history = read().history;
  EXPECT_EQ(history.num_starts, 2);
  EXPECT_EQ(history.last_start->host, "node13");
  EXPECT_EQ(history.last_end->event, "error");
  EXPECT_EQ(history.last_end->exit_code, 74);
  EXPECT_EQ(history.stop_asked_by, std::nullopt);
  EXPECT_DOUBLE_EQ(history.at_work_s, 100 + 60);
  EXPECT_DOUBLE_EQ(history.reading_s, 2.5);
  EXPECT_DOUBLE_EQ(history.loading_s, 7);
  EXPECT_DOUBLE_EQ(history.sealing_s, 1);
}

TEST_F(RunStatusTest, ARunBegunAnewHasNoHistory) {
  write_events(joined(kStoppedEvents, {second_start("false")}));
  const RunStatus status = read();
  EXPECT_EQ(status.history.num_starts, 1);
  EXPECT_DOUBLE_EQ(status.history.sealing_s, 0);
  EXPECT_EQ(status.num_samples, std::nullopt);
  EXPECT_EQ(status.state, RunState::NotStarted);
}

TEST_F(RunStatusTest, AStartThatFailedMakesTheRunFailedAndTellsItsCode) {
  write_parts();
  write_events(joined(kStoppedEvents, {second_start("true"), kErrorEvent}));
  EXPECT_EQ(read().state, RunState::Failed);
  EXPECT_EQ(exit_code_of(read()), 74);
}

TEST_F(RunStatusTest, TheFirstErrorOfAStartIsItsReason) {
  const std::string other_rank =
      R"({"time":"2026-03-01T11:29:59.000Z","event":"error","exit_code":70,"rank":3,)"
      R"("message":"no GPU"})";
  write_events({second_start("false"), other_rank, kErrorEvent});
  EXPECT_EQ(read().history.last_end->message, "no GPU");
  EXPECT_EQ(exit_code_of(read()), 70);
}

TEST_F(RunStatusTest, AnOwnerThatLostTheRunDoesNotEndTheNextOnesStart) {
  const auto line = [](const char* event, int epoch) {
    return fmt::format(
        R"({{"time":"2026-03-01T11:29:00.000Z","event":"{}","epoch":{}}})", event, epoch);
  };
  write_events({line("start", 1), line("start", 2), line("error", 1), line("done", 2)});
  EXPECT_EQ(read().history.last_end->event, "done");
}

TEST_F(RunStatusTest, AStartThatWasKilledIsResumableOnceAnythingIsSealed) {
  write_events({second_start("false")});
  EXPECT_EQ(read().state, RunState::NotStarted);
  EXPECT_EQ(exit_code_of(read()), 1);
  write_parts();
  EXPECT_EQ(read().state, RunState::Stopped);
  EXPECT_EQ(read().history.last_end.has_value(), false);
}

TEST_F(RunStatusTest, ACompleteRunIsCountedByItsResult) {
  write_relevance_file(
      run_ / "relevance.h5",
      true,
      {{0, example_record()}, {1, not_ok(SampleStatus::Failed, "bad", "not finite")}},
      {});
  const RunStatus status = read();
  EXPECT_EQ(status.state, RunState::Complete);
  EXPECT_EQ(status.num_samples, 2);
  EXPECT_EQ(status.samples_done, 2);
  EXPECT_EQ(status.samples_failed, 1);
  EXPECT_EQ(status.failures.at(0).id, "bad");
  EXPECT_EQ(status.batches_done, std::nullopt);
  EXPECT_EQ(exit_code_of(status), 0);
}

TEST_F(RunStatusTest, AResultThatIsDamagedIsNone) {
  write_parts();
  write_bytes(run_ / "relevance.h5", "half a file");
  EXPECT_EQ(read().state, RunState::Stopped);
  EXPECT_EQ(read().batches_done, 4);
}

TEST_F(RunStatusTest, ARunWithoutEventsIsStillCounted) {
  write_parts();
  const RunStatus status = read();
  EXPECT_EQ(status.state, RunState::Stopped);
  EXPECT_EQ(status.samples_done, 4);
  EXPECT_EQ(status.batches_done, 4);
  EXPECT_EQ(status.num_samples, std::nullopt);
  EXPECT_EQ(status.history.num_batches, std::nullopt);
}

TEST_F(RunStatusTest, NamesPartsThatCannotBeReadAndCountsTheOthers) {
  write_parts();
  write_bytes(part_path(1), "not HDF5");
  write_bytes(run_ / "parts/.part-000002.h5.tmp", "under construction");
  write_bytes(run_ / "parts/damaged-part-000003.h5", "set aside");
  const RunStatus status = read();
  EXPECT_THAT(status.unreadable_parts, ElementsAre("part-000001.h5"));
  EXPECT_EQ(status.batches_done, 2);
  EXPECT_EQ(status.samples_done, 1);
}

TEST_F(RunStatusTest, ABatchThatIsInTwoPartsCountsOnce) {
  write_part(0, {{0, with_units({true, false})}}, {0});
  write_part(1, {{0, with_units({true, false})}}, {0});
  EXPECT_EQ(read().batches_done, 1);
  EXPECT_EQ(read().samples_done, 0);
}

TEST_F(RunStatusTest, CountsAnswersWhereTheModelGivesTheTargets) {
  write_bytes(run_ / "targets.jsonl", "{\"record\": 0}\n{\"record\": 1}\n{\"rec");
  EXPECT_EQ(read().prompts_answered, 2);
  EXPECT_EQ(read().state, RunState::Stopped);
}

TEST_F(RunStatusTest, TheRateIsThatOfTheStartThatIsAtWork) {
  write_parts();
  write_events({second_start("true")});
  const auto write_metrics = [&](const char* start) {
    RunMetrics metrics{.run = "a \"b\" {c} d"};
    const auto seconds = [](SystemTime time) {
      return std::chrono::duration<double>(time.time_since_epoch()).count();
    };
    metrics.start_time_s = seconds(at(start));
    metrics.update_time_s = seconds(kNow) - 10;
    metrics.rows_per_second = 1234.5;
    metrics.time_left_s = 100;
    write_bytes(run_ / "metrics.prom", metrics_text(metrics));
  };
  write_metrics("2026-03-01T11:29:00.000Z");
  EXPECT_EQ(read().rows_per_second, std::nullopt) << "nobody is at work";
  const RunOwnership owner = RunOwnership::acquire(run_);
  EXPECT_EQ(read().state, RunState::Running);
  EXPECT_EQ(read().owner->host, owner.owner().host);
  EXPECT_DOUBLE_EQ(read().rows_per_second.value(), 1234.5);
  EXPECT_DOUBLE_EQ(read().time_left_s.value(), 90);
  EXPECT_DOUBLE_EQ(read().history.at_work_s, 31 * 60);
  EXPECT_EQ(exit_code_of(read()), 2);
  write_metrics("2026-03-01T11:00:00.000Z");
  EXPECT_EQ(read().rows_per_second, std::nullopt) << "of an earlier start";
}

TEST_F(RunStatusTest, AFolderThatIsMissingIsARunThatWasNotStarted) {
  EXPECT_EQ(read_run_status(folder_ / "nothing", kNow).state, RunState::NotStarted);
  write_bytes(folder_ / "file", "");
  EXPECT_THROW(read_run_status(folder_ / "file", kNow), DataError);
}

TEST_F(RunStatusTest, LooksWithoutWriting) {
  write_parts();
  write_events(kStoppedEvents);
  std::vector<fs::path> before;
  for (const auto& entry : fs::recursive_directory_iterator(run_))
    before.push_back(entry.path());
  read();
  std::vector<fs::path> after;
  for (const auto& entry : fs::recursive_directory_iterator(run_))
    after.push_back(entry.path());
  EXPECT_THAT(after, testing::UnorderedElementsAreArray(before));
}

TEST_F(RunStatusTest, TellsAllKeysInJson) {
  write_parts();
  write_events(kStoppedEvents);
  std::ostringstream out;
  const StatusOptions options{.path = run_, .as_json = true, .tells_by_exit_code = true};
  EXPECT_EQ(status(options, kNow, kFile, out), 75);
  using nlohmann::ordered_json;
  ordered_json document = ordered_json::parse(out.str());
  EXPECT_EQ(document["path"], run_.string());
  EXPECT_GT(document["bytes"], document["parts"]["bytes"]);
  document["path"] = "runs/squad";
  document["bytes"] = 2000;
  document["parts"]["bytes"] = 1000;
  expect_snapshot("status_stopped.json", document.dump(2) + "\n");
}

// ---- The page ----

namespace {

RunStatus running_status() {
  RunStatus status;
  status.path = "runs/squad";
  status.state = RunState::Running;
  status.owner = RunOwner{
      .host = "node12",
      .job_id = "815_3",
      .process = 4711,
      .epoch = 3,
      .started = "2026-03-01T06:20:00Z"};
  status.history = {
      .num_starts = 3,
      .last_start =
          RunStart{
              .time = at("2026-03-01T06:20:00.000Z"),
              .version = "0.1.0",
              .host = "node12",
              .process = 4711,
              .ranks = 8,
              .groups = 4,
              .tensor_parallel = 2,
              .slurm_job_id = "815"},
      .num_samples = 10'570,
      .num_batches = 480,
      .at_work_s = 100'000,
      .reading_s = 12,
      .loading_s = 190,
      .sealing_s = 4};
  status.samples_done = 1234;
  status.samples_failed = 12;
  status.samples_skipped = 2;
  for (int i = 0; i < 12; ++i) {
    status.failures.push_back(
        {.index = i,
         .id = fmt::format("sample-{}", i),
         .message = "log-probabilities are not finite"});
  }
  status.failures[1].id = "an id that is not tame \x1b[31m and longer than a line of the terminal";
  status.num_samples = 10'570;
  status.batches_done = 56;
  status.num_parts = 57;
  status.part_bytes = 12'345'678;
  status.bytes = 15'100'000;
  status.last_sealed = kNow - std::chrono::seconds(34);
  status.rows_per_second = 12'345;
  status.time_left_s = 3700 * 4;
  return status;
}

RunStatus failed_status() {
  RunStatus status = running_status();
  status.state = RunState::Failed;
  status.owner.reset();
  status.rows_per_second.reset();
  status.time_left_s.reset();
  status.failures.clear();
  status.samples_failed = 0;
  status.unreadable_parts = {"part-000007.h5"};
  status.history.last_end = RunEnd{
      .event = "error",
      .time = at("2026-03-01T11:30:00.000Z"),
      .exit_code = 74,
      .message =
          "runs/squad/parts/.part-000058.h5.tmp: cannot be written: No space left on device"};
  return status;
}

std::string page(const RunStatus& status, const Terminal& terminal) {
  std::ostringstream out;
  write_status_page(status, {.now = kNow}, terminal, out);
  return out.str();
}

}  // namespace

TEST(StatusPageTest, ReadsAsItDid) {
  expect_snapshot("status_running_80.txt", page(running_status(), kFile));
  const Terminal narrow{.is_terminal = true, .wants_colors = true, .columns = 50};
  expect_snapshot("status_running_colors_50.txt", page(running_status(), narrow));
  expect_snapshot("status_failed_80.txt", page(failed_status(), kFile));
}

TEST(StatusPageTest, FitsTheTerminalAndDoesNotSteerIt) {
  for (const std::int64_t columns : {40, 60, 80, 100}) {
    for (const RunStatus& status : {running_status(), failed_status()}) {
      std::istringstream lines(page(status, {.is_terminal = true, .columns = columns}));
      for (std::string line; std::getline(lines, line);) {
        EXPECT_LE(display_columns(line), columns) << line;
        EXPECT_THAT(line, Not(HasSubstr("\x1b")));
      }
    }
  }
}

TEST(StatusPageTest, ListsAsManyFailuresAsAreWanted) {
  std::ostringstream out;
  write_status_page(running_status(), {.most_failures = 12, .now = kNow}, kFile, out);
  EXPECT_THAT(out.str(), HasSubstr("sample-11: log-probabilities"));
  EXPECT_THAT(page(running_status(), kFile), HasSubstr("and 2 more; --all"));
}

TEST(StatusPageTest, SaysHowAStartEnded) {
  RunStatus status = failed_status();
  status.state = RunState::Stopped;
  status.history.last_end = RunEnd{.event = "stopped", .time = kNow, .exit_code = 75};
  status.history.stop_asked_by = "SIGTERM";
  EXPECT_THAT(page(status, kFile), HasSubstr("exit code 75, asked to stop by SIGTERM"));
  status.history.last_end.reset();
  EXPECT_THAT(page(status, kFile), HasSubstr("the last start was killed"));
}

TEST(StatusPageTest, SaysLittleOfARunThatWasNotStarted) {
  EXPECT_EQ(page({.path = "runs/new"}, kFile), "runs/new: nothing is computed yet\n");
}

}  // namespace limn::test
