#include "storage/run_directory.h"

#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "storage/error.h"
#include "tests/child_process.h"
#include "tests/messages.h"
#include "tests/sample_records.h"
#include "tests/temporary_folder.h"

namespace limn::test {

namespace {

using testing::AllOf;
using testing::AnyOf;
using testing::ElementsAre;
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
  EXPECT_THAT(names_in(run_), UnorderedElementsAre("epochs", "lock", "manifest.json", "parts"));
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
  std::filesystem::remove(run_ / "parts" / "part-000001-000000.h5");
  RunDirectory run = open();
  run.seal(part_of({2}));
  run.seal(part_of({3}));
  EXPECT_THAT(
      names_in(run_ / "parts"),
      UnorderedElementsAre(
          "part-000002-000001.h5",
          "part-000002-000001.h5.xxh3",
          "part-000003-000002.h5",
          "part-000003-000002.h5.xxh3",
          "part-000003-000003.h5",
          "part-000003-000003.h5.xxh3"));
}

// Invariant 4 of docs/run-directory.md.
TEST_F(RunDirectoryTest, RefusesASecondRunNamingTheFirst) {
  const RunDirectory run = open();
  std::array<char, 256> host = {};
  ::gethostname(host.data(), host.size() - 1);
  const OpenOptions impatient{.ownership = {.patience = std::chrono::milliseconds(200)}};
  EXPECT_THAT(
      message_of<IoError>([&] { RunDirectory::open(run_, example_manifest(), impatient); }),
      AllOf(
          HasSubstr((run_ / "lock").string() + ": another run is at work here"),
          HasSubstr(fmt::format("process {} on {}, since 20", ::getpid(), host.data()))));
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
          "manifest.json: begun with another explain.factor; choose another output.path, or start "
          "anew with --fresh, which keeps what is there: 0.0 there, 0.5 now"));
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
  const std::string version = "\"format_version\": 2";
  manifest.replace(manifest.find(version), version.size(), "\"format_version\": 9");
  write_bytes(run_ / "manifest.json", manifest);
  EXPECT_THAT(
      message_of<DataError>([&] { open(); }),
      AllOf(HasSubstr("format_version must be 2"), EndsWith(": 9")));
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
  write_bytes(run_ / "parts" / ".part-000001-000001.h5.tmp", "half a part");
  write_bytes(run_ / ".relevance.h5.000001.tmp", "half a result");
  EXPECT_THAT(open().finished_batches(), UnorderedElementsAre(0));
  EXPECT_THAT(
      names_in(run_ / "parts"),
      UnorderedElementsAre("part-000001-000000.h5", "part-000001-000000.h5.xxh3"));
  EXPECT_FALSE(std::filesystem::exists(run_ / ".relevance.h5.000001.tmp"));
}

// Invariant 3 of docs/run-directory.md.
TEST_F(RunDirectoryTest, SetsADamagedPartAsideAndNamesIt) {
  open().seal(part_of({0}));
  const std::filesystem::path part = run_ / "parts" / "part-000002-000001.h5";
  open().seal(part_of({1}));
  const std::string whole = read_bytes(part);
  const std::string checksum = read_bytes(part.string() + ".xxh3");
  std::mt19937_64 random(5);
  std::vector<std::string> damages{"", "text", whole.substr(0, whole.size() / 2), whole + "\n"};
  for (int i = 0; i < 20; ++i) {
    damages.push_back(whole);
    damages.back()[random() % whole.size()] ^= static_cast<char>(1 << random() % 8);
  }
  for (const std::string& bytes : damages) {
    write_bytes(part, bytes);
    write_bytes(part.string() + ".xxh3", checksum);
    RunDirectory run = open();
    EXPECT_THAT(run.finished_batches(), UnorderedElementsAre(0));
    EXPECT_THAT(
        run.take_warnings(),
        ElementsAre(AllOf(
            HasSubstr(part.string() + ": is not what was sealed"),
            HasSubstr("its batches are computed again, and the file kept as damaged-"))));
    EXPECT_THAT(run.take_warnings(), IsEmpty());
    EXPECT_FALSE(std::filesystem::exists(part));
  }
  const std::vector<std::string> names = names_in(run_ / "parts");
  EXPECT_EQ(
      std::ranges::count_if(
          names,
          [](const std::string& name) {
            return name.starts_with("damaged-") && name.ends_with(".h5");
          }),
      std::ssize(damages));
  EXPECT_EQ(read_bytes(run_ / "parts/damaged-part-000002-000001.h5"), "");
  // Its number is not used again.
  open().seal(part_of({1}));
  EXPECT_TRUE(std::filesystem::exists(run_ / "parts/part-000027-000002.h5"));
}

TEST_F(RunDirectoryTest, SetsAPartAsideThatCannotBeRead) {
  open().seal(part_of({0}));
  const std::filesystem::path part = run_ / "parts" / "part-000001-000000.h5";
  std::filesystem::remove(part);
  std::filesystem::create_directory(part);
  RunDirectory run = open();
  EXPECT_THAT(run.finished_batches(), IsEmpty());
  EXPECT_THAT(run.take_warnings(), ElementsAre(HasSubstr(": cannot be read: Is a directory; its")));
}

// Deleted by somebody.
TEST_F(RunDirectoryTest, NamesAPartThatIsGone) {
  open().seal(part_of({0}));
  open().seal(part_of({1}));
  std::filesystem::remove(run_ / "parts" / "part-000001-000000.h5");
  RunDirectory run = open();
  EXPECT_THAT(run.finished_batches(), UnorderedElementsAre(1));
  EXPECT_THAT(
      run.take_warnings(),
      ElementsAre(HasSubstr("part-000001-000000.h5: is gone, though it was sealed")));
  run = RunDirectory::open(folder_ / "other", example_manifest());
  EXPECT_THAT(open().take_warnings(), IsEmpty());
}

// A run that is killed between the two leaves the part without its checksum.
TEST_F(RunDirectoryTest, ChecksAPartWithoutAChecksumByReadingAllOfIt) {
  std::filesystem::path part = run_ / "parts" / "part-000001-000000.h5";
  open().seal(part_of({0}));
  const std::string whole = read_bytes(part);
  const std::string checksum = read_bytes(part.string() + ".xxh3");
  std::filesystem::remove(part.string() + ".xxh3");
  EXPECT_THAT(open().finished_batches(), UnorderedElementsAre(0));
  EXPECT_EQ(read_bytes(part.string() + ".xxh3"), checksum);
  std::filesystem::remove(part.string() + ".xxh3");
  write_bytes(part, whole.substr(0, whole.size() - 10));
  RunDirectory run = open();
  EXPECT_THAT(run.finished_batches(), IsEmpty());
  EXPECT_THAT(run.take_warnings(), ElementsAre(HasSubstr("kept as damaged-part-000001-000000.h5")));
}

TEST_F(RunDirectoryTest, ReadsPartsAndManifestsOfEarlierReleases) {
  open().seal(part_of({0}));
  const std::filesystem::path parts = run_ / "parts";
  std::filesystem::rename(parts / "part-000001-000000.h5", parts / "part-000007.h5");
  std::filesystem::remove(parts / "part-000001-000000.h5.xxh3");
  nlohmann::json manifest = nlohmann::json::parse(read_bytes(run_ / "manifest.json"));
  manifest["format_version"] = 1;
  for (const char* key : {"xxh3", "dataset_files", "begun"})
    manifest.erase(key);
  write_bytes(run_ / "manifest.json", manifest.dump());
  RunManifest now = example_manifest();
  now.fingerprint["tokenizer"] = "xxh3:03";
  now.dataset_files = {{.name = "", .bytes = 5, .fingerprint = "xxh3:01"}};
  {
    RunDirectory run = RunDirectory::open(run_, now);
    EXPECT_THAT(run.finished_batches(), UnorderedElementsAre(0));
    EXPECT_THAT(run.take_warnings(), IsEmpty());
    run.seal(part_of({1}));
    EXPECT_TRUE(std::filesystem::exists(parts / "part-000002-000008.h5"));
  }
  // From then on it is one of this release.
  EXPECT_THAT(message_of<JobError>([&] { open(); }), HasSubstr("another tokenizer"));
  EXPECT_NO_THROW(RunDirectory::open(run_, now));
}

TEST_F(RunDirectoryTest, ADamagedResultIsSetAsideAtTheStart) {
  {
    RunDirectory run = open();
    run.seal(part_of({0}));
    run.merge(1);
  }
  const std::string whole = read_bytes(run_ / "relevance.h5");
  for (const std::size_t place : {whole.size() / 3, whole.size() - 1}) {
    std::string bytes = whole;
    bytes[place] ^= 1;
    write_bytes(run_ / "relevance.h5", bytes);
    RunDirectory run = open();
    EXPECT_FALSE(run.is_complete());
    EXPECT_THAT(
        run.take_warnings(), ElementsAre(HasSubstr("it is merged anew, and the file kept as dam")));
    run.merge(1);
    EXPECT_TRUE(run.is_complete());
    EXPECT_EQ(read_bytes(run.result_path()), whole);
  }
  EXPECT_TRUE(open().is_complete());
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
  EXPECT_FALSE(std::filesystem::exists(run_ / ".relevance.h5.000001.tmp"));
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
  const std::filesystem::path part = run_ / "parts" / "part-000001-000000.h5";
  const std::string whole = read_bytes(part);
  write_bytes(part, whole.substr(0, whole.size() - 100));
  const auto expect_named = [&] {
    const std::string message = message_of<DataError>([&] { run.merge(1); });
    EXPECT_THAT(message, AllOf(HasSubstr(part.string()), HasSubstr("start again, and limn sets")));
  };
  expect_named();
  std::filesystem::remove(part);
  expect_named();
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

TEST_F(RunDirectoryTest, NoticesAnyBitThatFlipsInTheManifest) {
  open().seal(part_of({0}));
  const std::filesystem::path path = run_ / "manifest.json";
  const std::string whole = read_bytes(path);
  std::mt19937_64 random(9);
  for (int i = 0; i < 60; ++i) {
    std::string bytes = whole;
    const std::size_t place = random() % whole.size();
    if (std::isspace(static_cast<unsigned char>(bytes[place])) != 0) continue;
    bytes[place] ^= static_cast<char>(1 << random() % 7);
    write_bytes(path, bytes);
    EXPECT_THAT(message_of<DataError>([&] { open(); }), HasSubstr("manifest.json")) << bytes;
  }
  write_bytes(path, whole);
  EXPECT_NO_THROW(open());
}

TEST_F(RunDirectoryTest, BeginsAnewAndKeepsWhatWasThere) {
  open().seal(part_of({0}));
  write_bytes(run_ / "targets.jsonl", "{}\n");
  RunManifest other = example_manifest();
  other.fingerprint["dataset"] = "xxh3:02";
  {
    RunDirectory run = RunDirectory::open(run_, other, {.mode = StartMode::Fresh});
    EXPECT_THAT(run.finished_batches(), IsEmpty());
    EXPECT_THAT(
        run.take_warnings(),
        ElementsAre(AllOf(HasSubstr("begun anew"), EndsWith((run_ / "earlier-001").string()))));
    run.seal(part_of({5}));
    EXPECT_TRUE(std::filesystem::exists(run_ / "parts/part-000002-000000.h5"));
  }
  EXPECT_THAT(
      names_in(run_ / "earlier-001"),
      UnorderedElementsAre("manifest.json", "parts", "targets.jsonl"));
  EXPECT_TRUE(std::filesystem::exists(run_ / "earlier-001/parts/part-000001-000000.h5"));
  EXPECT_THAT(RunDirectory::open(run_, other).finished_batches(), UnorderedElementsAre(5));
  { RunDirectory::open(run_, other, {.mode = StartMode::Fresh}); }
  EXPECT_TRUE(std::filesystem::exists(run_ / "earlier-002/manifest.json"));
  // What was kept is a run like others.
  EXPECT_THAT(
      RunDirectory::open(run_ / "earlier-001", example_manifest()).finished_batches(),
      UnorderedElementsAre(0));
}

TEST_F(RunDirectoryTest, ADamagedManifestDoesNotStandInTheWayOfBeginningAnew) {
  open().seal(part_of({0}));
  write_bytes(run_ / "manifest.json", "{");
  EXPECT_THAT(message_of<DataError>([&] { open(); }), HasSubstr("start anew with --fresh"));
  EXPECT_NO_THROW(RunDirectory::open(run_, example_manifest(), {.mode = StartMode::Fresh}));
  EXPECT_EQ(read_bytes(run_ / "earlier-001/manifest.json"), "{");
}

// A start that is killed while it moves the earlier state away: wherever that happens the next one
// finds all of the earlier state, or none of it.
TEST_F(RunDirectoryTest, AKilledFreshStartLeavesTheOldRunOrNone) {
  for (int num_moved = 0; num_moved <= 3; ++num_moved) {
    std::filesystem::remove_all(run_);
    open().seal(part_of({0}));
    write_bytes(run_ / "targets.jsonl", "{}\n");
    const std::filesystem::path moving = run_ / "earlier-001.moving";
    std::filesystem::create_directory(moving);
    const std::array names{"parts", "targets.jsonl", "manifest.json"};
    for (int i = 0; i < num_moved; ++i)
      std::filesystem::rename(run_ / names[i], moving / names[i]);
    RunDirectory run = open();
    EXPECT_THAT(run.finished_batches(), IsEmpty());
    EXPECT_THAT(run.take_warnings(), ElementsAre(HasSubstr("begun anew")));
    EXPECT_THAT(
        names_in(run_ / "earlier-001"),
        UnorderedElementsAre("manifest.json", "parts", "targets.jsonl"));
    EXPECT_FALSE(std::filesystem::exists(moving));
  }
}

// The same with a process that is killed at random moments.
TEST_F(RunDirectoryTest, FreshStartsThatAreKilledLoseNothing) {
  std::mt19937_64 random(41);
  for (int round = 0; round < 15; ++round) {
    std::filesystem::remove_all(run_);
    open().seal(part_of({round}));
    const pid_t child = start_child([&] {
      RunDirectory::open(run_, example_manifest(), {.mode = StartMode::Fresh});
      return 0;
    });
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 12000));
    ::kill(child, SIGKILL);
    exit_code_of(child);
    const auto finished = open().finished_batches();
    const std::filesystem::path kept = run_ / "earlier-001/parts/part-000001-000000.h5";
    if (finished.empty()) {
      EXPECT_TRUE(std::filesystem::exists(kept)) << round;
      EXPECT_TRUE(std::filesystem::exists(run_ / "earlier-001/manifest.json"));
    } else {
      EXPECT_THAT(finished, UnorderedElementsAre(round));
      EXPECT_FALSE(std::filesystem::exists(run_ / "earlier-001"));
    }
  }
}

// Slurm starts a job again with all its flags.
TEST_F(RunDirectoryTest, ARequeuedJobBeginsAnewOnce) {
  open().seal(part_of({0}));
  ::setenv("SLURM_JOB_ID", "12", 1);
  const OpenOptions fresh{.mode = StartMode::Fresh};
  RunDirectory::open(run_, example_manifest(), fresh).seal(part_of({1}));
  ::setenv("SLURM_RESTART_COUNT", "1", 1);
  {
    RunDirectory run = RunDirectory::open(run_, example_manifest(), fresh);
    EXPECT_THAT(run.finished_batches(), UnorderedElementsAre(1));
    EXPECT_THAT(run.take_warnings(), ElementsAre(HasSubstr("before it was requeued; it goes on")));
  }
  ::setenv("SLURM_JOB_ID", "13", 1);
  EXPECT_THAT(RunDirectory::open(run_, example_manifest(), fresh).finished_batches(), IsEmpty());
  ::unsetenv("SLURM_JOB_ID");
  ::unsetenv("SLURM_RESTART_COUNT");
}

// A dataset of one file, which has grown, or not.
class ExtendedRunTest : public RunDirectoryTest {
 protected:
  ExtendedRunTest() {
    now_.fingerprint["dataset"] = "xxh3:02";
    now_.dataset_files = {{.name = "", .bytes = 9, .fingerprint = "xxh3:02"}};
    before_.dataset_files = {{.name = "", .bytes = 5, .fingerprint = "xxh3:01"}};
    OpenPart part = part_of({0, 1});
    part.contents = {{0, 70}, {1, 71}};
    RunDirectory run = RunDirectory::open(run_, before_);
    run.seal(part);
    part.batch_ids = {2};
    part.contents = {{2, 72}};
    run.seal(part);
    run.merge(1);
  }

  OpenOptions options(StartMode mode, const std::optional<std::string>& objection) const {
    return {
        .mode = mode, .objection_to_growth = [=, this](std::span<const DatasetFileContent> files) {
          EXPECT_EQ(files.size(), 1U);
          EXPECT_EQ(files[0], before_.dataset_files[0]);
          return objection;
        }};
  }

  RunManifest before_ = example_manifest();
  RunManifest now_ = example_manifest();
};

TEST_F(ExtendedRunTest, IsRefusedNamingTheFlagThatWouldGoOn) {
  const auto refusal = [&](StartMode mode, const std::optional<std::string>& objection) {
    return message_of<JobError>([&] { RunDirectory::open(run_, now_, options(mode, objection)); });
  };
  EXPECT_THAT(
      refusal(StartMode::Continue, std::nullopt),
      AllOf(HasSubstr("the dataset has grown"), HasSubstr("go on with --extend")));
  EXPECT_THAT(refusal(StartMode::Continue, "a: shorter"), HasSubstr("begun with another dataset"));
  EXPECT_THAT(
      refusal(StartMode::Extend, "a: shorter"),
      AllOf(HasSubstr("has not just grown at its end"), EndsWith(": a: shorter")));
  now_.fingerprint["explain.factor"] = "0.5";
  EXPECT_THAT(refusal(StartMode::Extend, std::nullopt), HasSubstr("another dataset;"));
  EXPECT_TRUE(RunDirectory::open(run_, before_).is_complete());
}

TEST_F(ExtendedRunTest, KeepsTheResultAndWhatIsComputed) {
  {
    RunDirectory run = RunDirectory::open(run_, now_, options(StartMode::Extend, std::nullopt));
    EXPECT_FALSE(run.is_complete());
    EXPECT_TRUE(std::filesystem::exists(run_ / "earlier-001/relevance.h5"));
    EXPECT_THAT(
        run.finished_contents(),
        UnorderedElementsAre(std::pair(0, 70), std::pair(1, 71), std::pair(2, 72)));
    run.supersede({1});
    EXPECT_THAT(run.finished_batches(), UnorderedElementsAre(2));
    EXPECT_TRUE(std::filesystem::exists(run_ / "parts/superseded-part-000001-000000.h5"));
  }
  // From now on it is a run of this dataset.
  EXPECT_THAT(
      RunDirectory::open(run_, now_, options(StartMode::Continue, "unasked")).finished_batches(),
      UnorderedElementsAre(2));
  EXPECT_THROW(RunDirectory::open(run_, before_), JobError);
}

// Parts of earlier releases do not say what is in their batches.
TEST_F(ExtendedRunTest, DoesNotBelieveBatchesOfWhichNobodyKnowsTheContents) {
  RunDirectory::open(run_, before_).seal(part_of({3}));
  const RunDirectory run = RunDirectory::open(run_, now_, options(StartMode::Extend, std::nullopt));
  EXPECT_THAT(run.finished_batches(), UnorderedElementsAre(0, 1, 2));
}

// Without a lock that keeps others out, an owner that was halted for long wakes up as one of two.
TEST_F(RunDirectoryTest, AnOwnerThatWasTakenOverSealsNothingMore) {
  using namespace std::chrono_literals;
  const OpenOptions options{
      .ownership = {
          .patience = 300ms, .heartbeat = 50ms, .silence = 500ms, .lock = OwnerLock::None}};
  const pid_t sleeper = start_child([&] {
    RunDirectory run = RunDirectory::open(run_, example_manifest(), options);
    run.seal(part_of({0}));
    ::raise(SIGSTOP);
    const auto is_refused = [&](const std::function<void()>& act) {
      try {
        act();
      } catch (const IoError& error) {
        const std::string message = error.what();
        return message.find("another start has taken this run over") != message.npos &&
               message.find("sealed stays") == message.npos;
      }
      return false;
    };
    if (!is_refused([&] { run.seal(part_of({1})); })) return 1;
    if (!is_refused([&] { run.merge(1); })) return 2;
    return 0;
  });
  int status = 0;
  ASSERT_EQ(::waitpid(sleeper, &status, WUNTRACED), sleeper);
  ASSERT_TRUE(WIFSTOPPED(status));
  RunDirectory run = RunDirectory::open(run_, example_manifest(), options);
  EXPECT_THAT(run.finished_batches(), UnorderedElementsAre(0));
  run.seal(part_of({2}));
  ::kill(sleeper, SIGCONT);
  EXPECT_EQ(exit_code_of(sleeper), 0);
  EXPECT_THAT(
      names_in(run_ / "parts"),
      UnorderedElementsAre(
          "part-000001-000000.h5",
          "part-000001-000000.h5.xxh3",
          "part-000002-000001.h5",
          "part-000002-000001.h5.xxh3"));
  EXPECT_FALSE(run.is_complete());
  run.seal(part_of({3}));
  run.merge(1);
  EXPECT_TRUE(run.is_complete());
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
      if (name.ends_with(".xxh3")) continue;
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
      const std::string message = error.what();
      const bool says_all = message.find("File too large; what is sealed stays") != message.npos &&
                            message.find('\n') == message.npos;
      return says_all ? 0 : 1;
    }
    return 2;
  });
  EXPECT_EQ(exit_code_of(child), 0);
  EXPECT_THAT(
      names_in(run_ / "parts"),
      UnorderedElementsAre("part-000001-000000.h5", "part-000001-000000.h5.xxh3"));
  EXPECT_THAT(open().finished_batches(), UnorderedElementsAre(0));
}

// Owns: a file system of its own size, in memory. Only root may mount one.
class SmallDisk {
 public:
  SmallDisk(std::filesystem::path folder, const char* options) : folder_(std::move(folder)) {
    std::filesystem::create_directory(folder_);
    is_mounted_ = ::mount("none", folder_.c_str(), "tmpfs", 0, options) == 0;
  }

  ~SmallDisk() {
    if (is_mounted_) ::umount2(folder_.c_str(), MNT_DETACH);
  }

  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  bool is_mounted() const { return is_mounted_; }

  void remount(unsigned long flags, const char* options) const {
    ASSERT_EQ(::mount("none", folder_.c_str(), "tmpfs", MS_REMOUNT | flags, options), 0);
  }

 private:
  std::filesystem::path folder_;
  bool is_mounted_ = false;
};

TEST_F(RunDirectoryTest, GoesOnWhenADiskThatWasFullHasRoomAgain) {
  const SmallDisk disk(folder_ / "disk", "size=400k");
  if (!disk.is_mounted()) GTEST_SKIP() << "no file system can be mounted here: " << errno;
  run_ = folder_ / "disk" / "run";
  std::int64_t num_sealed = 0;
  {
    RunDirectory run = open();
    const std::string message = message_of<IoError>([&] {
      for (;; ++num_sealed)
        run.seal(part_of({num_sealed}));
    });
    EXPECT_THAT(
        message,
        AllOf(
            HasSubstr((run_ / "parts").string()),
            HasSubstr("No space left on device; what is sealed stays"),
            Not(HasSubstr("\n"))));
    EXPECT_GT(num_sealed, 2);
  }
  disk.remount(0, "size=4m");
  RunDirectory run = open();
  // The last one may be whole though its checksum found no room.
  const auto num_finished = static_cast<std::int64_t>(run.finished_batches().size());
  EXPECT_THAT(num_finished, AnyOf(num_sealed, num_sealed + 1));
  EXPECT_THAT(run.take_warnings(), IsEmpty());
  run.seal(part_of({num_finished}));
  run.merge(1);
  EXPECT_TRUE(run.is_complete());
}

TEST_F(RunDirectoryTest, GoesOnWhenADiskThatWasReadOnlyCanBeWrittenAgain) {
  const SmallDisk disk(folder_ / "disk", "size=4m");
  if (!disk.is_mounted()) GTEST_SKIP() << "no file system can be mounted here: " << errno;
  run_ = folder_ / "disk" / "run";
  // Nothing may be open for writing when the disk becomes read-only, so somebody else does that to
  // a run that has just sealed.
  { open().seal(part_of({0})); }
  disk.remount(MS_RDONLY, "size=4m");
  const std::string message = message_of<IoError>([&] { open(); });
  EXPECT_THAT(message, AllOf(HasSubstr(run_.string()), HasSubstr("Read-only file system")));
  disk.remount(0, "size=4m");
  EXPECT_THAT(open().finished_batches(), UnorderedElementsAre(0));
}

}  // namespace

}  // namespace limn::test
