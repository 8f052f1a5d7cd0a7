#include "storage/run_directory.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/error.h"
#include "tests/child_process.h"
#include "tests/messages.h"
#include "tests/sample_records.h"
#include "tests/temporary_folder.h"

namespace limn::test {

namespace {

using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

RunManifest example_manifest() {
  return {
      .fingerprint = {{"dataset", "xxh3:01"}, {"explain.factor", "0.0"}},
      .attributes = example_attributes()};
}

// A sample of which nothing is computed yet.
SampleRecord without_results(SampleRecord record) {
  std::fill(record.delta.begin(), record.delta.end(), kNaN);
  for (TargetRecord& target : record.targets)
    target.log_prob = kNaN;
  return record;
}

// One batch: a unit of a sample, and the sample's log-probabilities with its first unit.
void add_unit(OpenPart& part, std::int64_t index, const SampleRecord& whole, std::size_t unit) {
  SampleRecord& record = part.samples.try_emplace(index, without_results(whole)).first->second;
  if (unit == 0) record.targets = whole.targets;
  const std::size_t num_targets = whole.targets.size();
  std::copy_n(
      whole.delta.begin() + unit * num_targets,
      num_targets,
      record.delta.begin() + unit * num_targets);
}

// Samples with at least a unit, a target and no failure.
std::vector<SampleRecord> complete_records(std::size_t count) {
  std::mt19937_64 random(21);
  std::vector<SampleRecord> records;
  while (records.size() < count) {
    SampleRecord record = random_record(random);
    const bool has_deltas = !record.delta.empty();
    if (has_deltas && record.status == SampleStatus::Ok) records.push_back(record);
  }
  return records;
}

class RunDirectoryTest : public testing::Test {
 protected:
  RunDirectory open() { return RunDirectory::open(run_, example_manifest()); }

  // Seals all units of all records as batches in a random order, `batches_per_part` to a part.
  void seal_in_parts(
      RunDirectory& run,
      const std::vector<SampleRecord>& records,
      std::size_t batches_per_part,
      std::uint64_t seed) {
    struct Batch {
      std::int64_t index;
      std::size_t unit;
    };

    std::vector<Batch> batches;
    for (std::size_t i = 0; i < records.size(); ++i) {
      for (std::size_t unit = 0; unit < records[i].units.size(); ++unit) {
        batches.push_back({static_cast<std::int64_t>(i), unit});
      }
    }
    std::mt19937_64 random(seed);
    std::shuffle(batches.begin(), batches.end(), random);
    OpenPart part;
    for (std::size_t i = 0; i < batches.size(); ++i) {
      add_unit(
          part,
          batches[i].index,
          records[static_cast<std::size_t>(batches[i].index)],
          batches[i].unit);
      part.batch_ids.push_back(static_cast<std::int64_t>(i));
      if (part.batch_ids.size() == batches_per_part || i + 1 == batches.size()) {
        run.seal(part);
        part = {};
      }
    }
  }

  OpenPart part_of(std::vector<std::int64_t> batch_ids) {
    OpenPart part;
    part.samples.emplace(0, example_record());
    part.batch_ids = std::move(batch_ids);
    return part;
  }

  std::vector<std::string> names_in(const std::filesystem::path& folder) {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      names.push_back(entry.path().filename().string());
    }
    return names;
  }

  TemporaryFolder folder_;
  std::filesystem::path run_ = folder_ / "runs" / "squad";
};

TEST_F(RunDirectoryTest, CreatesItselfAndItsParents) {
  const RunDirectory run = open();
  EXPECT_EQ(run.path(), run_);
  EXPECT_THAT(names_in(run_), UnorderedElementsAre("lock", "manifest.json", "parts"));
  EXPECT_THAT(run.finished_batches(), IsEmpty());
  EXPECT_FALSE(run.is_complete());
}

TEST_F(RunDirectoryTest, SaysInOneLineThatItCannotBeCreated) {
  write_bytes(folder_ / "runs", "a file");
  const std::string message = message_of<IoError>([&] { open(); });
  EXPECT_THAT(message, HasSubstr((folder_ / "runs").string()));
  EXPECT_THAT(message, Not(HasSubstr("\n")));
}

TEST_F(RunDirectoryTest, AnotherStartFindsTheSealedBatches) {
  {
    RunDirectory run = open();
    run.seal(part_of({0, 2}));
    run.seal(part_of({7}));
    EXPECT_THAT(run.finished_batches(), UnorderedElementsAre(0, 2, 7));
  }
  EXPECT_THAT(open().finished_batches(), UnorderedElementsAre(0, 2, 7));
}

// Invariant 2 of docs/run-directory.md.
TEST_F(RunDirectoryTest, NumbersPartsOnwardsFromTheHighest) {
  open().seal(part_of({0}));
  open().seal(part_of({1}));
  std::filesystem::remove(run_ / "parts" / "part-000000.h5");
  open().seal(part_of({2}));
  EXPECT_THAT(names_in(run_ / "parts"), UnorderedElementsAre("part-000001.h5", "part-000002.h5"));
}

// Invariant 4 of docs/run-directory.md.
TEST_F(RunDirectoryTest, RefusesASecondRunNamingTheFirst) {
  const RunDirectory run = open();
  std::array<char, 256> host = {};
  ::gethostname(host.data(), host.size() - 1);
  EXPECT_THAT(
      message_of<IoError>([&] { open(); }),
      AllOf(
          HasSubstr((run_ / "lock").string() + ": another run is at work here"),
          EndsWith(fmt::format("process {} on {}", ::getpid(), host.data()))));
}

TEST_F(RunDirectoryTest, IsFreeAgainWhenTheRunEnds) {
  { const RunDirectory run = open(); }
  EXPECT_NO_THROW(open());
}

TEST_F(RunDirectoryTest, ProgramsStartedByTheRunDoNotHoldTheLock) {
  pid_t child = 0;
  {
    const RunDirectory run = open();
    child = start_child([] { return ::execlp("sleep", "sleep", "60", nullptr); });
    // Until then the child is a copy of this process, lock and all.
    const std::string program = fmt::format("/proc/{}/comm", child);
    while (read_bytes(program) != "sleep\n")
      std::this_thread::yield();
  }
  EXPECT_NO_THROW(open());
  ::kill(child, SIGKILL);
  EXPECT_EQ(exit_code_of(child), -1);
}

TEST_F(RunDirectoryTest, AStartThatComputedNothingLeavesTheWayFree) {
  open();
  RunManifest mended = example_manifest();
  mended.fingerprint["dataset"] = "xxh3:02";
  mended.attributes.tensor_parallel = 8;
  RunDirectory::open(run_, mended).seal(part_of({0}));
  EXPECT_THAT(message_of<JobError>([&] { open(); }), HasSubstr("another dataset"));
  RunDirectory run = RunDirectory::open(run_, mended);
  run.merge(1);
  EXPECT_EQ(RelevanceReader(run.result_path()).attributes().tensor_parallel, 8);
}

TEST_F(RunDirectoryTest, RefusesAnotherFingerprintByItsFirstKey) {
  open().seal(part_of({0}));
  const auto refusal = [&](const std::map<std::string, std::string>& fingerprint) {
    RunManifest manifest = example_manifest();
    manifest.fingerprint = fingerprint;
    return message_of<JobError>([&] { RunDirectory::open(run_, manifest); });
  };
  EXPECT_THAT(
      refusal({{"dataset", "xxh3:01"}, {"explain.factor", "0.5"}}),
      EndsWith(
          "manifest.json: begun with another explain.factor; choose another output.path, or remove "
          "the folder to start again: 0.0 there, 0.5 now"));
  EXPECT_THAT(
      refusal({{"dataset", "xxh3:02"}, {"explain.factor", "0.5"}}),
      AllOf(HasSubstr("another dataset;"), EndsWith("xxh3:01 there, xxh3:02 now")));
  EXPECT_THAT(
      refusal({{"dataset", "xxh3:01"}}),
      AllOf(HasSubstr("another explain.factor;"), EndsWith("0.0 there, none now")));
  EXPECT_THAT(
      refusal({{"batch", "1"}, {"dataset", "xxh3:01"}, {"explain.factor", "0.0"}}),
      AllOf(HasSubstr("another batch;"), EndsWith("none there, 1 now")));
  EXPECT_NO_THROW(open());
}

TEST_F(RunDirectoryTest, RefusesTheManifestOfAnotherVersion) {
  open();
  std::string manifest = read_bytes(run_ / "manifest.json");
  const std::string version = "\"format_version\": 1";
  manifest.replace(manifest.find(version), version.size(), "\"format_version\": 9");
  write_bytes(run_ / "manifest.json", manifest);
  EXPECT_THAT(
      message_of<DataError>([&] { open(); }),
      AllOf(HasSubstr("format_version must be 1"), EndsWith(": 9")));
}

TEST_F(RunDirectoryTest, RefusesDamagedManifests) {
  open();
  for (const char* manifest : {"", "{}", "[]", "{\"format\": \"limn.run\"}"}) {
    write_bytes(run_ / "manifest.json", manifest);
    EXPECT_THAT(message_of<DataError>([&] { open(); }), HasSubstr("manifest.json")) << manifest;
  }
}

TEST_F(RunDirectoryTest, RefusesPartsOfWhichNobodyKnowsTheJob) {
  open().seal(part_of({0}));
  std::filesystem::remove(run_ / "manifest.json");
  EXPECT_THAT(
      message_of<JobError>([&] { open(); }),
      HasSubstr("manifest.json: missing, though there are results"));
}

// Invariant 1 of docs/run-directory.md.
TEST_F(RunDirectoryTest, AFailedSealLeavesNothing) {
  RunDirectory run = open();
  OpenPart part = part_of({0});
  part.samples.at(0).delta.clear();
  EXPECT_THROW(run.seal(part), InternalError);
  EXPECT_THAT(names_in(run_ / "parts"), IsEmpty());
  run.seal(part_of({0}));
  EXPECT_THAT(run.finished_batches(), UnorderedElementsAre(0));
}

// Invariant 1 of docs/run-directory.md.
TEST_F(RunDirectoryTest, OpeningRemovesWhatAKilledRunWasWriting) {
  open().seal(part_of({0}));
  write_bytes(run_ / "parts" / ".part-000001.h5.tmp", "half a part");
  write_bytes(run_ / ".relevance.h5.tmp", "half a result");
  EXPECT_THAT(open().finished_batches(), UnorderedElementsAre(0));
  EXPECT_THAT(names_in(run_ / "parts"), UnorderedElementsAre("part-000000.h5"));
  EXPECT_FALSE(std::filesystem::exists(run_ / ".relevance.h5.tmp"));
}

// Invariant 3 of docs/run-directory.md.
TEST_F(RunDirectoryTest, NamesADamagedPartAndItsCure) {
  RunDirectory run = open();
  run.seal(part_of({0}));
  run.seal(part_of({1}));
  const std::filesystem::path part = run_ / "parts" / "part-000001.h5";
  const std::string whole = read_bytes(part);
  for (const std::string& bytes :
       {std::string(), std::string("text"), whole.substr(0, whole.size() / 2)}) {
    write_bytes(part, bytes);
    const std::string message = message_of<DataError>([&] { run.finished_batches(); });
    EXPECT_THAT(message, HasSubstr(part.string()));
    EXPECT_THAT(message, HasSubstr("delete the part and limn computes its batches again"));
  }
  std::filesystem::remove(part);
  EXPECT_THAT(run.finished_batches(), UnorderedElementsAre(0));
}

TEST_F(RunDirectoryTest, APersonAsksToStopByAFile) {
  RunDirectory run = open();
  EXPECT_FALSE(run.stop_requested());
  write_bytes(run_ / "stop", "");
  EXPECT_TRUE(run.stop_requested());
  run.clear_stop_request();
  EXPECT_FALSE(run.stop_requested());
  EXPECT_NO_THROW(run.clear_stop_request());
}

// Invariant 5 of docs/run-directory.md.
TEST_F(RunDirectoryTest, MergesPartsIntoTheFileOfAnUndividedRun) {
  const std::vector<SampleRecord> records = complete_records(60);
  {
    RelevanceWriter writer(folder_ / "whole.h5", example_attributes());
    for (const SampleRecord& record : records)
      writer.append(record);
    writer.close();
  }
  const std::string whole = read_bytes(folder_ / "whole.h5");

  // One part; several; more than are ever open at once.
  for (const std::size_t batches_per_part : {1000, 40, 2}) {
    std::filesystem::remove_all(run_);
    RunDirectory run = open();
    seal_in_parts(run, records, batches_per_part, batches_per_part);
    run.merge(60);
    EXPECT_TRUE(run.is_complete());
    EXPECT_TRUE(read_bytes(run.result_path()) == whole) << batches_per_part << " batches per part";
  }
}

TEST_F(RunDirectoryTest, KeepsTheAttributesOfTheFirstStart) {
  open().seal(part_of({0}));
  RunManifest manifest = example_manifest();
  manifest.attributes.tensor_parallel = 8;
  RunDirectory run = RunDirectory::open(run_, manifest);
  run.merge(1);
  EXPECT_EQ(RelevanceReader(run.result_path()).attributes(), example_attributes());
}

// Invariant 6 of docs/relevance-file.md.
TEST_F(RunDirectoryTest, MergeNamesTheSampleOfWhichAUnitIsMissing) {
  RunDirectory run = open();
  OpenPart part;
  part.batch_ids = {0};
  add_unit(part, 0, example_record(), 0);
  run.seal(part);
  EXPECT_THAT(
      message_of<InternalError>([&] { run.merge(1); }),
      HasSubstr("no part holds unit 1 of sample " + example_record().id));
  EXPECT_FALSE(run.is_complete());
  EXPECT_FALSE(std::filesystem::exists(run_ / ".relevance.h5.tmp"));
}

TEST_F(RunDirectoryTest, MergeNamesWhatElseThePartsLackOrHaveTooMuch) {
  RunDirectory run = open();
  OpenPart part;
  part.batch_ids = {0};
  add_unit(part, 0, example_record(), 1);
  run.seal(part);
  EXPECT_THAT(
      message_of<InternalError>([&] { run.merge(1); }), HasSubstr("no part holds a log_prob"));
  run.seal(part_of({1}));
  EXPECT_THAT(
      message_of<InternalError>([&] { run.merge(2); }), HasSubstr("no part holds sample 1"));
  EXPECT_THAT(
      message_of<InternalError>([&] { run.merge(0); }), HasSubstr("more than the 0 samples"));
  EXPECT_NO_THROW(run.merge(1));
}

TEST_F(RunDirectoryTest, ASampleThatFailedInOneBatchIsFailed) {
  RunDirectory run = open();
  OpenPart part;
  part.batch_ids = {0};
  add_unit(part, 0, example_record(), 0);
  run.seal(part);
  part.samples.at(0) = without_results(example_record());
  part.samples.at(0).status = SampleStatus::Failed;
  part.samples.at(0).message = "not finite";
  part.batch_ids = {1};
  run.seal(part);
  run.merge(1);

  SampleRecord expected = example_record();
  expected.status = SampleStatus::Failed;
  expected.message = "not finite";
  expected.delta[1] = kNaN;
  EXPECT_TRUE(same_record(RelevanceReader(run.result_path()).read(0), expected));
}

TEST_F(RunDirectoryTest, MergeNamesADamagedPartAndItsCure) {
  RunDirectory run = open();
  run.seal(part_of({0}));
  const std::filesystem::path part = run_ / "parts" / "part-000000.h5";
  const std::string whole = read_bytes(part);
  write_bytes(part, whole.substr(0, whole.size() - 100));
  EXPECT_THAT(
      message_of<DataError>([&] { run.merge(1); }),
      AllOf(HasSubstr(part.string()), HasSubstr("delete the part")));
}

TEST_F(RunDirectoryTest, ADamagedResultIsNotCompleteAndMadeAnew) {
  RunDirectory run = open();
  run.seal(part_of({0}));
  run.merge(1);
  const std::string whole = read_bytes(run.result_path());
  write_bytes(run.result_path(), whole.substr(0, whole.size() / 2));
  EXPECT_FALSE(run.is_complete());
  run.merge(1);
  EXPECT_EQ(read_bytes(run.result_path()), whole);
}

// Invariant 1 of docs/run-directory.md. A child seals parts of known batches as fast as it can,
// until it is killed.
TEST_F(RunDirectoryTest, AKilledRunLeavesWholePartsOnly) {
  constexpr std::int64_t kBatchesPerPart = 10;
  const std::vector<SampleRecord> records = complete_records(20);
  std::mt19937_64 random(31);
  std::int64_t num_sealed = 0;
  // On a slow machine a child is given longer until the first part is there.
  std::uint64_t longest_us = 60000;
  for (int round = 0; round < 25 || num_sealed == 0; ++round) {
    if (round % 25 == 24 && num_sealed == 0) longest_us *= 4;
    const pid_t child = start_child([&]() -> int {
      RunDirectory run = open();
      for (std::int64_t part_number = num_sealed;; ++part_number) {
        OpenPart part;
        for (std::size_t i = 0; i < records.size(); ++i)
          part.samples.emplace(i, records[i]);
        for (std::int64_t i = 0; i < kBatchesPerPart; ++i) {
          part.batch_ids.push_back(part_number * kBatchesPerPart + i);
        }
        run.seal(part);
      }
    });
    std::this_thread::sleep_for(std::chrono::microseconds(random() % longest_us));
    ::kill(child, SIGKILL);
    ASSERT_EQ(exit_code_of(child), -1);

    const auto finished = open().finished_batches();
    const auto num_finished = static_cast<std::int64_t>(finished.size());
    ASSERT_EQ(num_finished % kBatchesPerPart, 0);
    for (std::int64_t batch = 0; batch < num_finished; ++batch)
      ASSERT_TRUE(finished.contains(batch));
    num_sealed = num_finished / kBatchesPerPart;
    for (const std::string& name : names_in(run_ / "parts")) {
      const RelevanceReader part(run_ / "parts" / name);
      ASSERT_TRUE(same_record(part.read(19), records[19]));
    }
  }
}

TEST_F(RunDirectoryTest, AFullDiskFailsTheSealAndLeavesTheOtherParts) {
  open().seal(part_of({0}));
  const pid_t child = start_child([&] {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit = {20 * 1000, 20 * 1000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    RunDirectory run = open();
    try {
      run.seal(part_of({1}));
    } catch (const IoError& error) {
      return std::string(error.what()).ends_with("File too large") ? 0 : 1;
    }
    return 2;
  });
  EXPECT_EQ(exit_code_of(child), 0);
  EXPECT_THAT(names_in(run_ / "parts"), UnorderedElementsAre("part-000000.h5"));
  EXPECT_THAT(open().finished_batches(), UnorderedElementsAre(0));
}

}  // namespace

}  // namespace limn::test
