#include "launch/run_command.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <iostream>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include <ATen/Parallel.h>
#include <spdlog/spdlog.h>

#include "coordinator/generation_plan.h"
#include "coordinator/protocol.h"
#include "coordinator/schedule.h"
#include "coordinator/target_generation.h"
#include "launch/bench_command.h"
#include "launch/command_line.h"
#include "launch/coordination.h"
#include "launch/coordinator_thread.h"
#include "launch/job_file.h"
#include "launch/logging.h"
#include "launch/run_deadline.h"
#include "launch/run_journal.h"
#include "launch/slurm_allocation.h"
#include "launch/thread_count.h"
#include "sharding/agreement.h"
#include "sharding/device_choice.h"
#include "sharding/process_mesh.h"
#include "storage/checkpoint.h"
#include "storage/generated_targets.h"
#include "storage/run_directory.h"
#include "worker/decoder_weights.h"
#include "worker/generator.h"
#include "worker/layer_source.h"
#include "worker/model_family.h"
#include "worker/streamed_layers.h"
#include "worker/sweep.h"
#include "worker/sweep_compute.h"
#include "worker/worker_loop.h"

namespace limn {

namespace {

ExitCode stopped_exit_code(std::int64_t num_durable_batches, const RunDirectory& run_directory) {
  if (num_durable_batches == 0) {
    spdlog::warn("stopped before any batch was finished: {}", run_directory.path().string());
    return ExitCode::NoProgress;
  }
  spdlog::info(
      "stopped; the same command goes on where this one ended: {}", run_directory.path().string());
  return ExitCode::Stopped;
}

// What model.dtype says, or the checkpoint.
at::ScalarType weight_dtype(
    const std::string& wanted, const Checkpoint& checkpoint, const ModelConfig& model) {
  if (wanted == "float32") return at::kFloat;
  if (wanted == "bfloat16") return at::kBFloat16;
  if (wanted == "float16") return at::kHalf;
  check(wanted == "auto", "a dtype that was not checked: {}", wanted);
  return stored_dtype(checkpoint, model);
}

// Seconds since it was made.
class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

 private:
  using Clock = std::chrono::steady_clock;

  Clock::time_point start_ = Clock::now();
};

// Whether a batch was computed by an earlier release, which did not keep what was in it.
bool has_unknown_contents(const RunDirectory& run_directory) {
  return std::ranges::any_of(
      run_directory.finished_contents(), [](const auto& batch) { return batch.second == 0; });
}

// A model that can compute. Borrows: all of it.
struct LoadedModel {
  const ModelConfig& config;
  const DecoderWeights& weights;
  LayerSource& layers;
  SweepCompute arithmetic;
};

// One start of a run, from the command line to the exit code.
class Run {
 public:
  Run(MpiSession& session, Communicator& world)
      : session_(session),
        world_(world),
        rank_{.rank = session.rank(), .num_ranks = session.size()} {}

  ExitCode operator()(const RunCommand& command) {
    try {
      return run(command);
    } catch (...) {
      tell_journal(std::current_exception());
      throw;
    }
  }

 private:
  ExitCode run(const RunCommand& command) {
    agree(world_, [&] { set_up_logging(command.log, rank_); });
    job_ = agree(world_, [&] { return read_job(command.job_path, command.overrides); });
    at::set_num_threads(choose_thread_count(session_.ranks_on_node()));

    const at::Device device = agree(world_, [&] { return choose_device(job_.parallel.device); });
    const ProcessMesh mesh = agree(world_, [&] {
      return ProcessMesh::create(
          session_.rank(), session_.size(), job_.parallel.tensor_parallel, device, patience());
    });
    const ModelConfig model = agree(world_, [&] { return load_model_config(job_.model.path); });
    const Checkpoint checkpoint = agree(world_, [&] { return Checkpoint(job_.model.path); });
    const SweepCompute arithmetic =
        choose_sweep_compute(job_.model.compute, stored_dtype(checkpoint, model));
    agree(world_, [&] { check_sweep_compute(arithmetic, device); });
    agree(world_, [&] {
      if (!coordinates()) return;
      coordination_ = prepare_coordination(
          job_,
          model,
          checkpoint,
          arithmetic,
          command.mode,
          [&](const RunDirectory& run_directory) { begin_journal(run_directory, mesh); });
      job_.data = coordination_->data;
      log_into_run_directory(command.log);
      log_warnings();
      tell_of_survey();
      deadline_.emplace(command.max_hours, start_, slurm_job_end);
    });
    run_directory_is_open_ = true;
    if (everyone_knows(coordinates() && coordination_->run_directory.is_complete())) {
      if (coordinates()) {
        log_result("nothing left to do");
        journal_->done(0, 0);
      }
      return ExitCode::Done;
    }
    const at::ScalarType dtype = weight_dtype(job_.model.dtype, checkpoint, model);
    const Stopwatch loading;
    const DecoderWeights weights = agree(world_, [&] {
      return load_decoder_weights(
          checkpoint, model, mesh.tensor_ranks(), dtype, device, job_.model.placement);
    });
    if (coordinates()) {
      journal_->loaded(loading.seconds());
      log_start(mesh, model, arithmetic, device);
    }

    std::optional<StreamedLayers> streamed;
    if (job_.model.placement == WeightPlacement::Streamed) {
      streamed.emplace(checkpoint, model, mesh.tensor_ranks(), dtype, device);
    }
    ResidentLayers resident(weights.layers);
    LayerSource& layers = streamed ? static_cast<LayerSource&>(*streamed) : resident;
    const LoadedModel loaded{model, weights, layers, arithmetic};
    bool is_done = true;
    if (generates_targets(job_)) is_done = generate_targets(mesh, loaded);
    if (is_done) is_done = explain(mesh, loaded);
    if (streamed && coordinates()) log_streaming(streamed->times());
    if (!is_done) {
      return coordinates() ? stop(num_durable_batches_) : ExitCode::Stopped;
    }
    const Stopwatch merging;
    agree(world_, [&] {
      if (coordinates()) coordination_->run_directory.merge(coordination_->survey.num_samples);
    });
    if (coordinates()) {
      journal_->done(num_durable_batches_, merging.seconds());
      log_result("done");
    }
    return ExitCode::Done;
  }

  bool coordinates() const { return rank_.rank == kCoordinatorRank; }

  // What the coordinator's rank says, on every rank. Collective.
  bool everyone_knows(bool said) { return told_by(world_, kCoordinatorRank, said); }

  // Unless a person named another file.
  void log_into_run_directory(LogOptions log) const {
    if (log.file) return;
    log.file = coordination_->run_directory.path() / "limn.log";
    set_up_logging(log, rank_);
  }

  void begin_journal(const RunDirectory& run_directory, const ProcessMesh& mesh) {
    survey_time_ = Stopwatch();
    journal_.emplace(
        run_directory.path(),
        StartShape{
            .ranks = rank_.num_ranks,
            .groups = mesh.num_groups(),
            .tensor_parallel = mesh.tensor_parallel(),
            .epoch = run_directory.owner().epoch});
  }

  void tell_of_survey() {
    journal_->surveyed(
        coordination_->survey, std::ssize(coordination_->finished_batches), survey_time_.seconds());
  }

  // On every rank: the one that knows why the start fails writes it down.
  void tell_journal(std::exception_ptr failure) {
    const bool is_known_here = [&] {
      try {
        std::rethrow_exception(failure);
      } catch (const AgreedError& error) {
        return error.speaks();
      } catch (...) {
        return true;
      }
    }();
    if (journal_) {
      is_known_here ? journal_->failed(failure_text(failure)) : journal_->failed_elsewhere();
    } else if (run_directory_is_open_ && is_known_here) {
      tell_of_failure(job_.output.path, rank_.rank, failure_text(failure));
    }
  }

  // How a start ends that was asked to stop.
  ExitCode stop(std::int64_t num_durable_batches) {
    const ExitCode code = stopped_exit_code(num_durable_batches, coordination_->run_directory);
    journal_->stopped(code, num_durable_batches);
    return code;
  }

  // Has the model give all targets that it has not given before. Whether all are there then.
  // Collective.
  bool generate_targets(const ProcessMesh& mesh, const LoadedModel& model) {
    Generator generator(model.config.decoder, model.weights, model.layers, model.arithmetic);
    std::optional<GenerationPlan> plan;  // of the coordinator's rank
    const bool is_done = compute(mesh, generator, [&](ServiceOptions options) {
      plan.emplace(job_, coordination_->preparer, coordination_->end_tokens, at::get_num_threads());
      return std::make_unique<TargetGeneration>(
          mesh.mailbox(),
          *plan,
          TargetGenerationOptions{
              .path = generated_targets_path(job_.output.path),
              .num_samples = coordination_->survey.num_samples - coordination_->survey.num_skipped,
              .targets_are_explained = has_unknown_contents(coordination_->run_directory),
              .check_before_write = [this] { coordination_->run_directory.check_still_owner(); },
              .service = std::move(options)});
    });
    if (!is_done) return false;
    survey_time_ = Stopwatch();
    agree(world_, [&] {
      if (!coordinates()) return;
      survey_generated_targets(*coordination_, job_);
      log_warnings();
      tell_of_survey();
    });
    if (coordinates()) log_dataset();
    return true;
  }

  // Computes all batches that are not finished. Whether all are then. Collective.
  bool explain(const ProcessMesh& mesh, const LoadedModel& model) {
    SweepEngine engine(
        model.config.decoder,
        model.weights,
        model.layers,
        job_.explain.suppression,
        model.arithmetic);
    std::optional<BatchSource> source;  // of the coordinator's rank
    return compute(mesh, engine, [&](ServiceOptions options) {
      source.emplace(
          job_, coordination_->preparer, coordination_->sweep_cost, at::get_num_threads());
      return std::make_unique<Schedule>(
          mesh.mailbox(),
          *source,
          coordination_->run_directory,
          ScheduleOptions{
              .survey = coordination_->survey,
              .finished_batches = coordination_->finished_batches,
              .interval_s = job_.checkpoint.interval_s,
              .service = std::move(options)});
    });
  }

  // Runs the service on the coordinator's rank, and all ranks for it. Whether all is done. A rank
  // that fails here fails alone, its partners deep in a collective: nothing may unwind past this,
  // so it ends the job. Collective.
  template <typename Engine>
  bool compute(const ProcessMesh& mesh, Engine& engine, const CoordinatorThread::Make& make) {
    std::optional<CoordinatorThread> coordinator;
    agree(world_, [&] {
      if (!coordinates()) return;
      coordinator.emplace(
          mesh,
          coordination_->run_directory,
          *journal_,
          *deadline_,
          job_.parallel.timeout_s,
          make,
          job_end());
    });
    try {
      run_worker(mesh, engine);
    } catch (...) {
      const FailureText failure = failure_text(std::current_exception());
      log_failure(failure);
      coordinator.reset();
      tell_journal(std::current_exception());
      session_.abort(failure.exit_code);
    }
    if (coordinator) {
      coordinator->join();
      num_durable_batches_ += coordinator->num_durable_batches();
    }
    throw_together(world_, coordinator ? coordinator->failure() : nullptr);
    return everyone_knows(coordinator && coordinator->outcome() == RunOutcome::Done);
  }

  Patience patience() {
    return {.timeout_s = job_.parallel.timeout_s, .on_hang = [this](const std::string& message) {
              log_failure({ExitCode::Internal, message});
              session_.abort(ExitCode::Internal);
            }};
  }

  JobEnd job_end() {
    return {
        .leave =
            [this](std::int64_t num_durable_batches) {
              session_.abort(stop(num_durable_batches_ + num_durable_batches));
            },
        .fail =
            [this](const std::exception_ptr& failure) {
              const FailureText text = failure_text(failure);
              log_failure(text);
              journal_->failed(text);
              session_.abort(text.exit_code);
            }};
  }

  void log_warnings() {
    for (const std::string& warning : coordination_->run_directory.take_warnings())
      spdlog::warn("{}", warning);
  }

  void log_start(
      const ProcessMesh& mesh,
      const ModelConfig& model,
      SweepCompute arithmetic,
      at::Device device) const {
    spdlog::info(
        "{}: {} with {} layers, in {} on {}; groups x tensor ranks: {} x {}, threads a rank: {}",
        job_.model.path.string(),
        model.model_type,
        model.decoder.num_layers(),
        name_of(arithmetic),
        device_text(device),
        mesh.num_groups(),
        mesh.tensor_parallel(),
        at::get_num_threads());
    if (generates_targets(job_)) {
      spdlog::info(
          "{}: samples: {}, whose targets the model gives",
          job_.data.path.string(),
          coordination_->survey.num_samples);
    } else {
      log_dataset();
    }
  }

  void log_dataset() const {
    const DatasetSurvey& survey = coordination_->survey;
    spdlog::info(
        "{}: samples: {}, batches: {}, finished before: {}",
        job_.data.path.string(),
        survey.num_samples,
        survey.num_batches,
        coordination_->finished_batches.size());
    if (survey.num_skipped > 0) {
      spdlog::warn(
          "samples that are skipped: {} of {}; the first: {}",
          survey.num_skipped,
          survey.num_samples,
          survey.first_skipped);
    }
    if (survey.num_without_token > 0) {
      spdlog::info(
          "{}: words or other pieces of the prompts that are no units, for their token begins "
          "before them: {}",
          job_.data.path.string(),
          survey.num_without_token);
    }
  }

  // Of this rank. A reader that sweeps wait for much is the bottleneck.
  static void log_streaming(const StreamingTimes& times) {
    spdlog::info(
        "layers streamed: {}, GB: {:.1f}, seconds of reading: {:.1f}, of waiting for it: {:.1f}",
        times.num_layers,
        static_cast<double>(times.num_bytes) * 1e-9,
        times.reading_s,
        times.waiting_s);
  }

  void log_result(std::string_view how) const {
    const DatasetSurvey& survey = coordination_->survey;
    if (survey.num_skipped > 0) {
      spdlog::warn(
          "samples skipped: {} of {}; `limn show` says which and why",
          survey.num_skipped,
          survey.num_samples);
    }
    spdlog::info("{}: {}", how, coordination_->run_directory.result_path().string());
  }

  MpiSession& session_;
  RunDeadline::Clock::time_point start_ = RunDeadline::Clock::now();
  Communicator& world_;
  LogRank rank_;
  Job job_;
  bool run_directory_is_open_ = false;        // by the coordinator's rank
  std::optional<Coordination> coordination_;  // of the coordinator's rank
  Stopwatch survey_time_;
  std::optional<RunJournal> journal_;     // of the coordinator's rank; after its run directory
  std::optional<RunDeadline> deadline_;   // of the coordinator's rank
  std::int64_t num_durable_batches_ = 0;  // of this start
};

// What a person who does not want to run anything wants to read.
const std::string& requested_text(const Command& command) {
  if (const auto* const version = std::get_if<VersionRequest>(&command)) return version->text;
  const auto* const help = std::get_if<HelpRequest>(&command);
  check(help != nullptr, "a command that is not for all ranks");
  return help->text;
}

}  // namespace

void log_failure(const FailureText& failure) {
  std::istringstream lines(failure.message);
  for (std::string line; std::getline(lines, line);)
    spdlog::error("{}", line);
}

ExitCode run_on_all_ranks(MpiSession& session, int argc, const char* const* argv) {
  set_up_logging({}, {.rank = session.rank(), .num_ranks = session.size()});
  const auto world = world_communicator();
  try {
    const Command command = agree(*world, [&] { return parse_command_line(argc, argv); });
    if (const auto* const run = std::get_if<RunCommand>(&command)) {
      return Run(session, *world)(*run);
    }
    if (const auto* const bench = std::get_if<BenchCommand>(&command)) {
      return bench_on_all_ranks(session, *world, bench->options);
    }
    if (session.rank() == 0) std::cout << requested_text(command);
    return ExitCode::Done;
  } catch (const AgreedError& error) {
    if (error.speaks()) log_failure(failure_text(std::current_exception()));
    return error.exit_code();
  } catch (...) {
    // The other ranks do not know and would wait for this one.
    const FailureText failure = failure_text(std::current_exception());
    log_failure(failure);
    session.abort(failure.exit_code);
  }
}

}  // namespace limn
