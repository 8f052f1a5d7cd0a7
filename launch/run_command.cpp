#include "launch/run_command.h"

#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <variant>

#include <ATen/Parallel.h>
#include <spdlog/spdlog.h>

#include "coordinator/batch_source.h"
#include "coordinator/protocol.h"
#include "coordinator/schedule.h"
#include "coordinator/tokenizer.h"
#include "launch/command_line.h"
#include "launch/job_file.h"
#include "launch/logging.h"
#include "launch/progress_line.h"
#include "launch/stop_signal.h"
#include "launch/terminal.h"
#include "launch/thread_count.h"
#include "launch/version.h"
#include "sharding/agreement.h"
#include "sharding/process_mesh.h"
#include "storage/checkpoint.h"
#include "storage/fingerprint.h"
#include "storage/run_directory.h"
#include "worker/decoder_weights.h"
#include "worker/model_family.h"
#include "worker/model_fingerprint.h"
#include "worker/sweep.h"
#include "worker/worker_loop.h"

namespace limn {

namespace {

// Deltas that differ, beyond rounding, from those of an earlier version of limn get a new number here, so
// that no run is continued with other arithmetic.
constexpr const char* kNumericsVersion = "1";

// What the coordinator's rank has besides a model.
struct Coordination {
  std::optional<Tokenizer> tokenizer;
  SamplePreparer preparer;
  RunDirectory run_directory;
  std::unordered_set<std::int64_t> finished_batches;
  DatasetSurvey survey;
};

RunManifest manifest_of(const Job& job, const Checkpoint& checkpoint) {
  RunManifest manifest;
  const std::string model = model_fingerprint(checkpoint);
  manifest.fingerprint = value_fingerprint(job);
  manifest.fingerprint["data"] = file_fingerprint(job.data.path);
  manifest.fingerprint["model"] = model;
  manifest.fingerprint["numerics"] = kNumericsVersion;
  manifest.attributes = {
      .job = to_toml(job),
      .model = model,
      .software_version = std::string(software_version()),
      .tensor_parallel = job.parallel.tensor_parallel,
      .dtype = "float32"};
  return manifest;
}

// A checkpoint without tokenizer.json explains records of token ids.
std::optional<Tokenizer> load_tokenizer(const std::filesystem::path& folder) {
  if (!std::filesystem::exists(folder / "tokenizer.json")) return std::nullopt;
  return Tokenizer::load(folder);
}

// The explained model's tokens and the run's directory, the dataset checked from end to end.
std::unique_ptr<Coordination> prepare_coordination(
    const Job& job, const LogOptions& log, const LogRank& rank, const ModelConfig& model,
    const Checkpoint& checkpoint) {
  auto tokenizer = load_tokenizer(job.model.path);
  RunDirectory run_directory = RunDirectory::open(job.output.path, manifest_of(job, checkpoint));
  if (!log.file) {
    set_up_logging({.level = log.level, .file = run_directory.path() / "limn.log"}, rank);
  }
  auto coordination = std::make_unique<Coordination>(Coordination{
      .tokenizer = std::move(tokenizer),
      .preparer = SamplePreparer(nullptr, {}, {}),
      .run_directory = std::move(run_directory)});
  // Now that the tokenizer has its place.
  coordination->preparer = SamplePreparer(
      coordination->tokenizer ? &*coordination->tokenizer : nullptr,
      job.explain,
      {.vocab_size = model.decoder.vocab_size, .max_positions = model.decoder.max_positions});
  coordination->finished_batches = coordination->run_directory.finished_batches();
  coordination->survey =
      survey_dataset(job, coordination->preparer, coordination->finished_batches);
  return coordination;
}

// Serves the groups from a thread of its own, beside the worker of the same rank.
class CoordinatorThread {
 public:
  // Borrows: everything. `leave` ends the job; it is called when a stop at once was asked for.
  CoordinatorThread(
      const ProcessMesh& mesh,
      const Job& job,
      Coordination& coordination,
      std::function<void(std::int64_t num_sealed_batches)> leave)
      : coordination_(coordination),
        progress_(describe_terminal(STDERR_FILENO), std::cerr),
        source_(job, coordination.preparer),
        schedule_(
            mesh.mailbox(),
            source_,
            coordination.run_directory,
            coordination.survey,
            coordination.finished_batches,
            options(mesh, job)),
        leave_(std::move(leave)),
        thread_([this] { serve(); }) {}

  ~CoordinatorThread() {
    abandon();
    join();
  }

  CoordinatorThread(const CoordinatorThread&) = delete;
  CoordinatorThread& operator=(const CoordinatorThread&) = delete;

  // Seals what is complete and stops serving, because the job is about to be ended.
  void abandon() { schedule_.abandon(); }

  // Waits for the end. The results below are there afterwards.
  void join() {
    if (thread_.joinable()) thread_.join();
  }

  std::exception_ptr failure() const { return failure_; }
  RunOutcome outcome() const { return outcome_; }
  std::int64_t num_sealed_batches() const { return schedule_.num_sealed_batches(); }

 private:
  void serve() {
    try {
      outcome_ = schedule_.run();
      progress_.finish(last_progress_);
      const bool at_once = requested_stop() == StopRequest::Now;
      if (at_once && outcome_ == RunOutcome::Stopped) leave_(schedule_.num_sealed_batches());
    } catch (...) {
      failure_ = std::current_exception();
    }
  }

  ScheduleOptions options(const ProcessMesh& mesh, const Job& job) {
    ScheduleOptions options;
    options.interval_s = job.checkpoint.interval_s;
    for (int group = 0; group < mesh.num_groups(); ++group) {
      options.leaders.push_back(mesh.leader_of(group));
    }
    options.stop_request = [this] { return stop_request(); };
    options.report = [this](const Progress& progress) {
      last_progress_ = progress;
      progress_.update(progress);
    };
    return options;
  }

  // A signal's request, or that of the stop file, which is looked for once a second.
  StopRequest stop_request() {
    const auto now = std::chrono::steady_clock::now();
    if (!stop_file_seen_ && now - stop_file_looked_for_ > std::chrono::seconds(1)) {
      stop_file_looked_for_ = now;
      stop_file_seen_ = coordination_.run_directory.stop_requested();
      if (stop_file_seen_) coordination_.run_directory.clear_stop_request();
    }
    return std::max(
        requested_stop(), stop_file_seen_ ? StopRequest::FinishPart : StopRequest::None);
  }

  Coordination& coordination_;
  Progress last_progress_;
  ProgressLine progress_;
  bool stop_file_seen_ = false;
  std::chrono::steady_clock::time_point stop_file_looked_for_;
  BatchSource source_;
  Schedule schedule_;
  std::function<void(std::int64_t)> leave_;
  RunOutcome outcome_ = RunOutcome::Stopped;
  std::exception_ptr failure_;
  std::thread thread_;
};

ExitCode stopped_exit_code(std::int64_t num_sealed_batches, const RunDirectory& run_directory) {
  if (num_sealed_batches == 0) {
    spdlog::warn("stopped before any batch was finished: {}", run_directory.path().string());
    return ExitCode::NoProgress;
  }
  spdlog::info(
      "stopped; the same command goes on where this one ended: {}",
      run_directory.path().string());
  return ExitCode::Stopped;
}

// One start of a run, from the command line to the exit code.
class Run {
 public:
  Run(MpiSession& session, Communicator& world)
      : session_(session),
        world_(world),
        rank_{.rank = session.rank(), .num_ranks = session.size()} {}

  ExitCode operator()(const RunCommand& command) {
    agree(world_, [&] { set_up_logging(command.log, rank_); });
    job_ = agree(world_, [&] { return read_job(command.job_path, command.overrides); });
    at::set_num_threads(choose_thread_count(session_.ranks_on_node()));

    const ProcessMesh mesh = agree(world_, [&] {
      return ProcessMesh::create(session_.rank(), session_.size(), job_.parallel.tensor_parallel);
    });
    const ModelConfig model = agree(world_, [&] { return load_model_config(job_.model.path); });
    const Checkpoint checkpoint = agree(world_, [&] { return Checkpoint(job_.model.path); });
    coordination_ = agree(world_, [&] {
      if (!coordinates()) return std::unique_ptr<Coordination>();
      return prepare_coordination(job_, command.log, rank_, model, checkpoint);
    });
    if (everyone_knows(coordinates() && coordination_->run_directory.is_complete())) {
      if (coordinates()) log_result("nothing left to do");
      return ExitCode::Done;
    }
    const DecoderWeights weights = agree(world_, [&] {
      return load_decoder_weights(checkpoint, model, mesh.tensor_ranks());
    });
    if (coordinates()) log_start(mesh, model);

    SweepEngine engine(model.decoder, weights, job_.explain.suppression);
    const RunOutcome outcome = compute(mesh, engine);
    if (!everyone_knows(coordinates() && outcome == RunOutcome::Done)) {
      return coordinates() ? stopped_exit_code(num_sealed_batches_, coordination_->run_directory)
                           : ExitCode::Stopped;
    }
    agree(world_, [&] {
      if (coordinates()) coordination_->run_directory.merge(coordination_->survey.num_samples);
    });
    if (coordinates()) log_result("done");
    return ExitCode::Done;
  }

 private:
  bool coordinates() const { return rank_.rank == kCoordinatorRank; }

  // What the coordinator's rank says, on every rank. Collective.
  bool everyone_knows(bool said) { return told_by(world_, kCoordinatorRank, said); }

  // All batches that are not finished. A rank that fails here fails alone, its partners deep in a
  // collective: nothing may unwind past this, so it ends the job.
  RunOutcome compute(const ProcessMesh& mesh, SweepEngine& engine) {
    std::optional<CoordinatorThread> coordinator;
    if (coordinates()) {
      coordinator.emplace(mesh, job_, *coordination_, [this](std::int64_t num_sealed_batches) {
        session_.abort(stopped_exit_code(num_sealed_batches, coordination_->run_directory));
      });
    }
    try {
      run_worker(mesh, engine);
    } catch (...) {
      const FailureText failure = failure_text(std::current_exception());
      log_failure(failure);
      coordinator.reset();
      session_.abort(failure.exit_code);
    }
    if (coordinator) {
      coordinator->join();
      num_sealed_batches_ = coordinator->num_sealed_batches();
    }
    throw_together(world_, coordinator ? coordinator->failure() : nullptr);
    return coordinator ? coordinator->outcome() : RunOutcome::Done;
  }

  void log_start(const ProcessMesh& mesh, const ModelConfig& model) const {
    const DatasetSurvey& survey = coordination_->survey;
    spdlog::info(
        "{}: {} with {} layers, {} groups of {} ranks, {} threads a rank",
        job_.model.path.string(),
        model.model_type,
        model.decoder.num_layers,
        mesh.num_groups(),
        mesh.tensor_parallel(),
        at::get_num_threads());
    spdlog::info(
        "{}: {} samples in {} batches, {} of them finished before",
        job_.data.path.string(),
        survey.num_samples,
        survey.num_batches,
        coordination_->finished_batches.size());
  }

  void log_result(std::string_view how) const {
    spdlog::info("{}: {}", how, coordination_->run_directory.result_path().string());
  }

  MpiSession& session_;
  Communicator& world_;
  LogRank rank_;
  Job job_;
  std::unique_ptr<Coordination> coordination_;  // of the coordinator's rank
  std::int64_t num_sealed_batches_ = 0;
};

}  // namespace

void log_failure(const FailureText& failure) {
  std::istringstream lines(failure.message);
  for (std::string line; std::getline(lines, line);) spdlog::error("{}", line);
}

ExitCode run_on_all_ranks(MpiSession& session, int argc, const char* const* argv) {
  set_up_logging({}, {.rank = session.rank(), .num_ranks = session.size()});
  const auto world = world_communicator();
  try {
    const Command command = agree(*world, [&] { return parse_command_line(argc, argv); });
    if (const auto* const run = std::get_if<RunCommand>(&command)) {
      return Run(session, *world)(*run);
    }
    const auto* const help = std::get_if<HelpRequest>(&command);
    check(help != nullptr, "a command that is not for all ranks");
    if (session.rank() == 0) std::cout << help->text;
    return ExitCode::Done;
  } catch (const PeerError& error) {
    return error.exit_code();  // the rank that knows has said why
  } catch (...) {
    const FailureText failure = failure_text(std::current_exception());
    log_failure(failure);
    return failure.exit_code;
  }
}

}  // namespace limn
