// The schedule with leaders that speak the letters of a run but compute deltas from a formula.

#include "coordinator/schedule.h"

#include <atomic>
#include <chrono>
#include <limits>
#include <memory>
#include <optional>
#include <thread>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/protocol.h"
#include "sharding/agreement.h"
#include "sharding/process_mesh.h"
#include "storage/relevance_file.h"
#include "tests/messages.h"
#include "tests/sample_records.h"
#include "tests/temporary_folder.h"

namespace limn::test {

namespace {

using testing::Each;
using testing::HasSubstr;
using testing::UnorderedElementsAreArray;

namespace fs = std::filesystem;

using Bytes = std::vector<std::byte>;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

constexpr int kToCoordinator = static_cast<int>(LetterTag::ToCoordinator);
constexpr int kToLeader = static_cast<int>(LetterTag::ToLeader);

// Samples of 2 to 13 tokens, each token a unit: the longer ones span several batches.
constexpr std::int64_t kNumSamples = 24;
constexpr std::int64_t kBatchTokens = 40;
constexpr std::int64_t kNumTargets = 2;
const ModelLimits kModel{.vocab_size = 100, .max_positions = 0};

std::string dataset_lines() {
  std::string lines;
  for (std::int64_t sample = 0; sample < kNumSamples; ++sample) {
    std::string ids = "1";
    for (std::int64_t i = 0; i < sample % 12; ++i)
      ids += fmt::format(",{}", i);
    lines += fmt::format("{{\"input_ids\": [{}], \"target_ids\": [7, 8]}}\n", ids);
  }
  return lines;
}

float true_delta(std::int64_t sample, std::int64_t perturbation, std::int64_t target) {
  return static_cast<float>(sample * 1000 + perturbation * 10 + target) / 8;
}

float true_log_prob(std::int64_t sample, std::int64_t target) {
  return -static_cast<float>(sample * 10 + target) / 8;
}

// What a sweep would give. The bits of a base may differ from batch to batch; here the values do.
BatchResult true_result(const Batch& batch) {
  BatchResult result{batch.id, {}};
  for (const BatchPiece& piece : batch.pieces) {
    PieceResult& measured = result.pieces.emplace_back();
    measured.sample_index = piece.sample_index;
    measured.perturbation_begin = piece.perturbation_begin;
    for (std::int64_t target = 0; target < piece.num_targets(); ++target) {
      measured.base_log_prob.push_back(
          true_log_prob(piece.sample_index, target) - static_cast<float>(piece.perturbation_begin));
    }
    for (std::int64_t i = 0; i < std::ssize(piece.perturbations); ++i) {
      for (std::int64_t target = 0; target < piece.num_targets(); ++target) {
        measured.delta.push_back(
            true_delta(piece.sample_index, piece.perturbation_begin + i, target));
      }
    }
  }
  return result;
}

// A leader's letter for a batch; nothing: it leaves without a word.
using Answer = std::function<std::optional<Bytes>(const Batch&)>;

std::optional<Bytes> true_answer(const Batch& batch) {
  return to_bytes(true_result(batch));
}

// One start of a run, as far as the schedule sees it.
struct StartOptions {
  double interval_s = 1e9;               // nothing is sealed before the end
  std::int64_t most_unsealed_bytes = 0;  // the leaders wait for every part
  Answer answer = true_answer;
  std::function<StopRequest(const Schedule&)> stop_request = [](const Schedule&) {
    return StopRequest::None;
  };
  std::function<bool(double)> has_time_for = [](double) { return true; };
  double timeout_s = 600;
  // Before the schedule begins.
  std::function<void()> sabotage = [] {};
  // Whether some rank leaves in the middle of it, so that letters stay behind.
  bool breaks_off = false;
  // What the schedule reads, where it is not the dataset that was surveyed.
  std::optional<fs::path> other_dataset;
};

// How a start ended, on the coordinator's rank.
struct Ending {
  RunOutcome outcome = RunOutcome::Stopped;
  std::exception_ptr failure;
  std::int64_t num_sealed_batches = 0;
  // What it told of.
  std::vector<SealReport> sealed;
  std::vector<FailedSample> failed;
};

// What the coordinator's rank has, and the thread that serves the leaders.
class Coordinator {
 public:
  Coordinator(
      const ProcessMesh& mesh, const Job& job, RunDirectory run_directory, StartOptions options)
      : preparer_(nullptr, job.explain, kModel),
        run_directory_(std::move(run_directory)),
        survey_(survey_dataset(
            job,
            preparer_,
            {},
            [finished = run_directory_.finished_batches()](const PlannedBatch& planned) {
              return finished.contains(planned.batch.id);
            })),
        source_(job_of_source(job, options), preparer_, {}),
        schedule_(mesh.mailbox(), source_, run_directory_, schedule_options(mesh, options)) {
    options.sabotage();
    thread_ = std::thread([this] {
      try {
        ending_.outcome = schedule_.run();
      } catch (...) {
        ending_.failure = std::current_exception();
      }
    });
  }

  void abandon() { schedule_.abandon(); }

  // As last reported. Any thread.
  std::int64_t batches_done() const { return batches_done_.load(); }

  Ending join() {
    thread_.join();
    ending_.num_sealed_batches = schedule_.num_durable_batches();
    return ending_;
  }

  void merge() { run_directory_.merge(survey_.num_samples); }

 private:
  static Job job_of_source(Job job, const StartOptions& options) {
    job.data.path = options.other_dataset.value_or(job.data.path);
    return job;
  }

  ScheduleOptions schedule_options(const ProcessMesh& mesh, const StartOptions& options) {
    ScheduleOptions schedule_options;
    schedule_options.survey = survey_;
    schedule_options.finished_batches = run_directory_.finished_batches();
    schedule_options.interval_s = options.interval_s;
    schedule_options.most_unsealed_bytes = options.most_unsealed_bytes;
    schedule_options.service.has_time_for = options.has_time_for;
    schedule_options.service.timeout_s = options.timeout_s;
    for (int group = 0; group < mesh.num_groups(); ++group)
      schedule_options.service.leaders.push_back(mesh.leader_of(group));
    schedule_options.service.stop_request = [this, wanted = options.stop_request] {
      return wanted(schedule_);
    };
    schedule_options.service.report = [this](const Progress& progress) {
      batches_done_.store(progress.batches_done);
    };
    schedule_options.service.sealed = [this](const SealReport& part) {
      ending_.sealed.push_back(part);
    };
    schedule_options.service.sample_failed = [this](const FailedSample& sample) {
      ending_.failed.push_back(sample);
    };
    return schedule_options;
  }

  SamplePreparer preparer_;
  RunDirectory run_directory_;
  DatasetSurvey survey_;
  BatchSource source_;
  Schedule schedule_;
  std::atomic<std::int64_t> batches_done_ = 0;
  Ending ending_;
  std::thread thread_;
};

class ScheduleTest : public testing::Test {
 protected:
  ScheduleTest() {
    job_.data.path = folder_ / "data.jsonl";
    job_.explain.units = UnitKind::Token;
    job_.parallel.batch_tokens = kBatchTokens;
    use_dataset(dataset_lines());
  }

  void use_dataset(const std::string& lines) {
    write_bytes(job_.data.path, lines);
    const SamplePreparer preparer(nullptr, job_.explain, kModel);
    handed_out_ = at::zeros({survey_dataset(job_, preparer, {}, {}).num_batches}, at::kLong);
  }

  // Each record a batch: two tokens fed, of which the first is a unit.
  void use_dataset_of_batches(std::int64_t count) {
    job_.parallel.batch_tokens = 4;
    std::string lines;
    for (; count > 0; --count)
      lines += "{\"input_ids\": [1], \"target_ids\": [7, 8]}\n";
    use_dataset(lines);
  }

  bool coordinates() const { return world_->rank() == kCoordinatorRank; }

  // One start in the run directory of that name: the schedule beside rank 0's leader, a leader on
  // every rank. Collective.
  Ending start(const std::string& run, const StartOptions& options = {}) {
    const ProcessMesh mesh = ProcessMesh::create(world_->rank(), world_->size(), 1);
    if (coordinates()) {
      coordinator_ = std::make_unique<Coordinator>(
          mesh, job_, RunDirectory::open(folder_ / run, manifest_), options);
    }
    lead(mesh.mailbox(), options.answer);
    const Ending ending = coordinates() ? coordinator_->join() : Ending{};
    const bool left_letters = take_letters(mesh.mailbox());
    EXPECT_TRUE(options.breaks_off || !left_letters) << "rank " << world_->rank();
    return ending;
  }

  // Whether there are letters to this rank that nobody opened; there are none afterwards, for Open
  // MPI would confuse them with those of the next start. Collective.
  bool take_letters(const Mailbox& mailbox) {
    throw_together(*world_, nullptr);  // all have been sent
    bool found = false;
    for (const int tag : {kToCoordinator, kToLeader}) {
      while (mailbox.receive_within(tag, std::chrono::milliseconds(5)))
        found = true;
    }
    return found;
  }

  // The letters of a leader whose group is itself.
  void lead(const Mailbox& mailbox, const Answer& answer) {
    for (int i = 0; i < kBatchesHeld; ++i)
      mailbox.send(kCoordinatorRank, kToCoordinator, {});
    while (true) {
      const Letter letter = mailbox.receive(kToLeader);
      if (letter.bytes.empty()) return;
      const Batch batch = batch_from_bytes(letter.bytes);
      handed_out_[batch.id] += 1;
      auto reply = answer(batch);
      if (!reply) return;
      mailbox.send(kCoordinatorRank, kToCoordinator, *std::move(reply));
    }
  }

  // A start to the end and its merged file, on rank 0. Collective.
  std::string complete(const std::string& run, const StartOptions& options = {}) {
    const Ending ending = start(run, options);
    if (!coordinates()) return {};
    EXPECT_EQ(ending.failure, nullptr);
    EXPECT_EQ(ending.outcome, RunOutcome::Done);
    if (ending.outcome != RunOutcome::Done) return {};
    coordinator_->merge();
    coordinator_.reset();
    return read_bytes(folder_ / run / "relevance.h5");
  }

  // How often each batch was handed out, over all starts of this test. Collective.
  std::vector<std::int64_t> times_handed_out() {
    world_->all_reduce(handed_out_, ReduceOp::Sum);
    const auto* const begin = handed_out_.const_data_ptr<std::int64_t>();
    return {begin, begin + handed_out_.numel()};
  }

  // The failure of a start that every rank left in order. Collective.
  template <typename Expected>
  void expect_failure(const StartOptions& options, const std::string& text) {
    const Ending ending = start("run", options);
    if (!coordinates()) {
      EXPECT_THROW(throw_together(*world_, nullptr), AgreedError);
      return;
    }
    EXPECT_THAT(
        message_of<Expected>([&] { std::rethrow_exception(ending.failure); }), HasSubstr(text));
    EXPECT_THROW(throw_together(*world_, ending.failure), AgreedError);
    coordinator_.reset();
  }

  // Every leader answers two batches and then none; once both are in, `request` is called. The
  // schedule must not wait for those that are under way. Collective.
  void expect_to_leave_at_once(
      const std::function<StopRequest(const Schedule&)>& stop_request,
      const std::function<void()>& request) {
    const std::int64_t num_answered = 2 * world_->size();
    std::int64_t num_mine = 0;
    const Answer answer = [&](const Batch& batch) -> std::optional<Bytes> {
      if (++num_mine <= 2) return true_answer(batch);
      while (coordinates() && coordinator_->batches_done() < num_answered) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      if (coordinates()) request();
      return std::nullopt;
    };
    const Ending ending =
        start("run", {.answer = answer, .stop_request = stop_request, .breaks_off = true});
    if (coordinates()) {
      EXPECT_EQ(ending.failure, nullptr);
      EXPECT_EQ(ending.outcome, RunOutcome::Stopped);
      EXPECT_EQ(ending.num_sealed_batches, num_answered);
      coordinator_.reset();
    }
    EXPECT_EQ(complete("run"), complete("whole"));
  }

  std::unique_ptr<Communicator> world_ = world_communicator();
  TemporaryFolder folder_;
  Job job_;
  RunManifest manifest_{.fingerprint = {{"data", "a"}}, .attributes = example_attributes()};
  std::unique_ptr<Coordinator> coordinator_;  // of rank 0
  at::Tensor handed_out_;                     // [batches] int64: how often to this rank's leader
};

}  // namespace

TEST_F(ScheduleTest, MergesEverySampleFromItsBatches) {
  complete("run");
  if (!coordinates()) return;
  const RelevanceReader reader(folder_ / "run" / "relevance.h5");
  ASSERT_EQ(reader.num_samples(), kNumSamples);
  for (std::int64_t sample = 0; sample < kNumSamples; ++sample) {
    const SampleRecord record = reader.read(sample);
    EXPECT_EQ(record.status, SampleStatus::Ok);
    ASSERT_EQ(record.units.size(), static_cast<std::size_t>(sample % 12 + 1));
    ASSERT_EQ(record.targets.size(), static_cast<std::size_t>(kNumTargets));
    for (std::int64_t target = 0; target < kNumTargets; ++target) {
      // That of the sample's first batch, whichever was the first to come.
      EXPECT_EQ(record.targets[target].log_prob, true_log_prob(sample, target));
      for (std::int64_t unit = 0; unit < std::ssize(record.units); ++unit) {
        EXPECT_EQ(record.delta[unit * kNumTargets + target], true_delta(sample, unit, target));
      }
    }
  }
}

TEST_F(ScheduleTest, GivesTheSameFileHoweverOftenItSeals) {
  const std::string once = complete("once");
  EXPECT_EQ(complete("often", {.interval_s = 0}), once);
  // However many results wait for the disk.
  EXPECT_EQ(complete("without waiting", {.interval_s = 0, .most_unsealed_bytes = 1 << 20}), once);
}

TEST_F(ScheduleTest, HandsOutEveryBatchOnce) {
  complete("run");
  EXPECT_GT(handed_out_.numel(), 20);
  EXPECT_THAT(times_handed_out(), Each(1));
}

TEST_F(ScheduleTest, GivesNobodyASecondBatchBeforeEverybodyHasOne) {
  use_dataset_of_batches(world_->size());
  // Nobody is done with his first before all have one: who is quick may well have another.
  const Answer answer = [&](const Batch& batch) {
    throw_together(*world_, nullptr);
    return true_answer(batch);
  };
  complete("run", {.answer = answer});
  EXPECT_EQ(handed_out_.sum().item<std::int64_t>(), 1) << "on rank " << world_->rank();
}

TEST_F(ScheduleTest, HasNothingToHandOutWhenEverythingIsFinished) {
  complete("run");
  const Ending again = start("run");
  if (coordinates()) {
    EXPECT_EQ(again.outcome, RunOutcome::Done);
    EXPECT_EQ(again.num_sealed_batches, 0);
  }
  EXPECT_THAT(times_handed_out(), Each(1));
}

TEST_F(ScheduleTest, FinishPartStopsAndAResumeCompletesTheSameFile) {
  const auto stop_after_three = [](const Schedule& schedule) {
    return schedule.num_durable_batches() >= 3 ? StopRequest::FinishPart : StopRequest::None;
  };
  const Ending stopped = start("run", {.interval_s = 0, .stop_request = stop_after_three});
  if (coordinates()) {
    EXPECT_EQ(stopped.failure, nullptr);
    EXPECT_EQ(stopped.outcome, RunOutcome::Stopped);
    EXPECT_GE(stopped.num_sealed_batches, 3);
    EXPECT_LT(stopped.num_sealed_batches, handed_out_.numel());
    coordinator_.reset();
  }
  const std::string resumed = complete("run");
  // What was handed out before the stop was sealed, so nobody computed it again.
  EXPECT_THAT(times_handed_out(), Each(1));
  EXPECT_EQ(resumed, complete("whole"));
}

TEST_F(ScheduleTest, HandsOutNoBatchForWhichThereIsNoTime) {
  // Nothing is known before the first result, so there is time for all batches until then.
  double longest_asked_for = 0;
  const auto no_time_from_a_batch_on = [&](double seconds) {
    longest_asked_for = std::max(longest_asked_for, seconds);
    return seconds == 0;
  };
  const Answer answer = [](const Batch& batch) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    return true_answer(batch);
  };
  const Ending stopped = start("run", {.answer = answer, .has_time_for = no_time_from_a_batch_on});
  if (coordinates()) {
    EXPECT_EQ(stopped.failure, nullptr);
    EXPECT_EQ(stopped.outcome, RunOutcome::Stopped);
    EXPECT_EQ(stopped.num_sealed_batches, kBatchesHeld * world_->size());
    // Of the batch that it holds and that it would get.
    EXPECT_GT(longest_asked_for, 2 * 0.02);
    coordinator_.reset();
  }
  const std::string resumed = complete("run");
  EXPECT_THAT(times_handed_out(), Each(1));
  EXPECT_EQ(resumed, complete("whole"));
}

// Lines that cannot be read before, between and behind the records.
std::string dataset_with_nonsense() {
  std::string lines;
  for (int i = 0; i < 3; ++i)
    lines += "nonsense\n" + dataset_lines() + "nonsense\n";
  return lines;
}

TEST_F(ScheduleTest, SkippedSamplesAreInTheFileLikeOthers) {
  job_.data.on_error = OnError::Skip;
  use_dataset(dataset_with_nonsense());
  complete("run");
  if (!coordinates()) return;
  const RelevanceReader reader(folder_ / "run" / "relevance.h5");
  ASSERT_EQ(reader.num_samples(), 3 * (kNumSamples + 2));
  for (std::int64_t i = 0; i < reader.num_samples(); ++i) {
    const SampleRecord record = reader.read(i);
    const std::int64_t place = i % (kNumSamples + 2);
    const bool is_skipped = place == 0 || place == kNumSamples + 1;
    EXPECT_EQ(record.status, is_skipped ? SampleStatus::Skipped : SampleStatus::Ok);
    EXPECT_EQ(record.id, is_skipped ? fmt::format("data.jsonl:{}", i + 1) : std::to_string(i + 1));
    EXPECT_EQ(record.tokens.empty(), is_skipped);
    EXPECT_THAT(record.message, HasSubstr(is_skipped ? record.id + ": not JSON" : ""));
  }
}

TEST_F(ScheduleTest, AResumeKeepsSkippedSamples) {
  job_.data.on_error = OnError::Skip;
  use_dataset(dataset_with_nonsense());
  const auto stop_after_three = [](const Schedule& schedule) {
    return schedule.num_durable_batches() >= 3 ? StopRequest::FinishPart : StopRequest::None;
  };
  const Ending stopped = start("run", {.interval_s = 0, .stop_request = stop_after_three});
  if (coordinates()) {
    EXPECT_EQ(stopped.outcome, RunOutcome::Stopped);
    coordinator_.reset();
  }
  const std::string resumed = complete("run");
  EXPECT_THAT(times_handed_out(), Each(1));
  EXPECT_EQ(resumed, complete("whole"));
}

TEST_F(ScheduleTest, SealsWhatNeedsNoLeaderBehindAStop) {
  job_.data.on_error = OnError::Skip;
  std::string lines;
  for (int i = 0; i < 3000; ++i)
    lines += "nonsense\n";
  use_dataset(lines);
  const StartOptions stop_at_once{
      .stop_request = [](const Schedule&) { return StopRequest::FinishPart; }};
  const Ending ending = start("run", stop_at_once);
  if (!coordinates()) return;
  // Nothing is left that a later start could do.
  EXPECT_EQ(ending.outcome, RunOutcome::Done);
  EXPECT_EQ(ending.num_sealed_batches, 3);
  coordinator_->merge();
  coordinator_.reset();
  const RelevanceReader reader(folder_ / "run" / "relevance.h5");
  EXPECT_EQ(reader.num_samples(), 3000);
  EXPECT_EQ(reader.read(2999).id, "data.jsonl:3000");
}

TEST_F(ScheduleTest, FinishPartIsDoneWhenTheLastBatchWasOutAlready) {
  if (world_->size() > 1) GTEST_SKIP() << "one leader knows that it has all batches";
  use_dataset_of_batches(kBatchesHeld);
  // The leader keeps its first result until the schedule has had time to send it both batches; the
  // stop comes with that result, before the schedule looks for more.
  std::atomic<int> num_looks = 0;
  const auto stop_after_one = [&](const Schedule& schedule) {
    ++num_looks;
    return schedule.num_durable_batches() >= 1 ? StopRequest::FinishPart : StopRequest::None;
  };
  const Answer answer = [&](const Batch& batch) {
    for (const int then = num_looks.load(); num_looks.load() < then + 3;)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return true_answer(batch);
  };
  const Ending ending =
      start("run", {.interval_s = 0, .answer = answer, .stop_request = stop_after_one});
  EXPECT_EQ(ending.failure, nullptr);
  EXPECT_EQ(ending.outcome, RunOutcome::Done);
  EXPECT_EQ(ending.num_sealed_batches, kBatchesHeld);
  coordinator_->merge();
}

TEST_F(ScheduleTest, AStopBeforeTheFirstBatchSealsNothing) {
  const Ending stopped =
      start("run", {.stop_request = [](const Schedule&) { return StopRequest::FinishPart; }});
  if (coordinates()) {
    EXPECT_EQ(stopped.outcome, RunOutcome::Stopped);
    EXPECT_EQ(stopped.num_sealed_batches, 0);
    EXPECT_TRUE(fs::is_empty(folder_ / "run" / "parts"));
  }
  EXPECT_THAT(times_handed_out(), Each(0));
}

TEST_F(ScheduleTest, NowSealsWhatIsCompleteWithoutWaiting) {
  std::atomic<bool> stop = false;
  expect_to_leave_at_once(
      [&](const Schedule&) { return stop.load() ? StopRequest::Now : StopRequest::None; },
      [&] { stop.store(true); });
}

TEST_F(ScheduleTest, AbandoningItSealsWhatIsCompleteWithoutWaiting) {
  expect_to_leave_at_once(
      [](const Schedule&) { return StopRequest::None; }, [&] { coordinator_->abandon(); });
}

TEST_F(ScheduleTest, MarksASampleWhoseValuesAreNotFiniteAndGoesOn) {
  const Answer answer = [](const Batch& batch) {
    BatchResult result = true_result(batch);
    for (PieceResult& piece : result.pieces) {
      if (piece.sample_index == 11) piece.delta.back() = kNaN;
      if (piece.sample_index == 12) piece.base_log_prob[0] = -kInfinity;
    }
    return to_bytes(result);
  };
  complete("run", {.answer = answer});
  if (!coordinates()) return;
  const RelevanceReader reader(folder_ / "run" / "relevance.h5");
  for (std::int64_t sample = 0; sample < kNumSamples; ++sample) {
    const SampleRecord record = reader.read(sample);
    const bool failed = sample == 11 || sample == 12;
    EXPECT_EQ(record.status, failed ? SampleStatus::Failed : SampleStatus::Ok) << sample;
    EXPECT_EQ(record.message, failed ? "log-probabilities are not finite" : "");
  }
}

TEST_F(ScheduleTest, TellsOnceOfEveryPartAndOfEverySampleThatFails) {
  const Answer answer = [](const Batch& batch) {
    BatchResult result = true_result(batch);
    for (PieceResult& piece : result.pieces) {
      if (piece.sample_index == 11) piece.base_log_prob[0] = kNaN;  // in each of its batches
    }
    return to_bytes(result);
  };
  const Ending ending = start("run", {.interval_s = 0, .answer = answer});
  if (!coordinates()) return;
  std::int64_t num_batches = 0;
  std::vector<std::string> names;
  for (const SealReport& part : ending.sealed) {
    num_batches += part.num_batches;
    EXPECT_GT(part.num_samples, 0);
    EXPECT_GT(part.seconds, 0);
    names.push_back(part.name);
  }
  EXPECT_EQ(num_batches, handed_out_.numel());
  EXPECT_EQ(num_batches, ending.num_sealed_batches);
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(folder_ / "run" / "parts")) {
    if (entry.path().extension() == ".h5") files.push_back(entry.path().filename());
  }
  EXPECT_THAT(names, UnorderedElementsAreArray(files));
  ASSERT_EQ(ending.failed.size(), 1U);
  EXPECT_EQ(ending.failed[0].index, 11);
  EXPECT_EQ(ending.failed[0].id, "12");
  EXPECT_EQ(ending.failed[0].message, "log-probabilities are not finite");
  coordinator_.reset();
}

// The failures below hang where a leader is not dismissed.

TEST_F(ScheduleTest, DismissesEveryLeaderWhenAPartCannotBeWritten) {
  // While batches are under way, and when none is left.
  for (const double interval_s : {0.0, 1e9}) {
    const auto put_a_file_in_place_of_the_parts = [&] {
      fs::remove_all(folder_ / "run" / "parts");
      write_bytes(folder_ / "run" / "parts", "");
    };
    expect_failure<IoError>(
        {.interval_s = interval_s, .sabotage = put_a_file_in_place_of_the_parts}, "parts");
    fs::remove_all(folder_ / "run");
  }
}

TEST_F(ScheduleTest, DismissesEveryLeaderWhenTheDatasetChangesUnderIt) {
  const fs::path changed = folder_ / "changed.jsonl";
  write_bytes(changed, dataset_lines() + "{\"input_ids\": []}\n");
  expect_failure<DataError>({.other_dataset = changed}, "changed.jsonl:25: ");
}

TEST_F(ScheduleTest, DismissesEveryLeaderWhenAResultMakesNoSense) {
  const Answer garbled = [](const Batch& batch) -> std::optional<Bytes> {
    return batch.id == 2 ? Bytes(3) : true_answer(batch);
  };
  expect_failure<InternalError>({.answer = garbled}, "a letter that ends early");
  const Answer of_nobodys_batch = [](const Batch& batch) -> std::optional<Bytes> {
    BatchResult result = true_result(batch);
    if (batch.id == 2) result.batch_id = 4711;
    return to_bytes(result);
  };
  expect_failure<InternalError>({.answer = of_nobodys_batch}, "a result of batch 4711");
  const Answer too_long = [](const Batch& batch) -> std::optional<Bytes> {
    BatchResult result = true_result(batch);
    if (batch.id == 2) result.pieces[0].delta.resize(1000);
    return to_bytes(result);
  };
  expect_failure<InternalError>({.answer = too_long}, "a result that does not fit sample");
}

TEST_F(ScheduleTest, NamesALeaderThatIsAtABatchForTooLong) {
  // Each at its second batch, for nobody knows who gets a third.
  int num_answered = 0;
  const Answer answer = [&](const Batch& batch) -> std::optional<Bytes> {
    if (++num_answered == 2) std::this_thread::sleep_for(std::chrono::milliseconds(1500));
    return true_answer(batch);
  };
  expect_failure<InternalError>({.answer = answer, .timeout_s = 0.3}, " has been at a batch for ");
  EXPECT_EQ(complete("run"), complete("whole"));
}

TEST_F(ScheduleTest, IsResumedAfterAFailureAsAfterAStop) {
  int num_answered = 0;
  const Answer answer = [&](const Batch& batch) -> std::optional<Bytes> {
    return ++num_answered > 3 ? Bytes(3) : true_answer(batch);
  };
  expect_failure<InternalError>({.interval_s = 0, .answer = answer}, "a letter that ends early");
  EXPECT_EQ(complete("run"), complete("whole"));
}

}  // namespace limn::test
