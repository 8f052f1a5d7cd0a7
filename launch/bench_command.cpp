#include "launch/bench_command.h"

#include <fcntl.h>

#include <filesystem>
#include <iostream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include "launch/bench_report.h"
#include "launch/thread_count.h"
#include "sharding/agreement.h"
#include "sharding/collective_bench.h"
#include "sharding/device_choice.h"
#include "sharding/device_measure.h"
#include "sharding/process_mesh.h"
#include "sharding/timed_communicator.h"
#include "storage/durable_file.h"
#include "worker/decoder_cost.h"
#include "worker/random_weights.h"
#include "worker/sweep_bench.h"

namespace limn {

namespace {

at::ScalarType bench_dtype(const std::string& wanted) {
  if (wanted == "float32") return at::kFloat;
  if (wanted == "float16") return at::kHalf;
  return at::kBFloat16;
}

ModelConfig model_of(const std::filesystem::path& config) {
  return std::filesystem::is_directory(config) ? load_model_config(config)
                                               : read_model_config(config);
}

// The longest sequence that the model takes is fed.
void check_positions(const ModelConfig& model, const BenchSamples& samples) {
  const std::int64_t most = model.decoder.max_positions;
  if (most == 0 || samples.fed_length() <= most) return;
  throw UsageError(fmt::format(
      "limn bench: --tokens and --targets must be at most {} together, the model's positions: {}",
      most + 1,
      samples.tokens + samples.targets));
}

SweepWork work_of(const std::vector<PlannedBatch>& batches) {
  SweepWork work;
  for (const PlannedBatch& batch : batches)
    work += batch.work;
  return work;
}

// What rank 0 prints and writes.
class BenchOutput {
 public:
  // Opens the file now: an hour later would be late for a bad path.
  BenchOutput(const BenchOptions& options, int rank) : is_written_(rank == 0), path_(options.json) {
    if (is_written_ && path_) file_.emplace(*path_, O_WRONLY | O_CREAT | O_TRUNC);
  }

  void write(const std::string& text, const std::string& json) const {
    if (!is_written_) return;
    std::cout << text << std::flush;
    if (file_) write_text(*file_, *path_, json);
  }

 private:
  bool is_written_;
  std::optional<std::filesystem::path> path_;
  std::optional<FileDescriptor> file_;
};

void bench_collectives(MpiSession& session, Communicator& world, const BenchOptions& options) {
  const BenchOutput output = agree(world, [&] {
    if (session.size() == 1) {
      throw UsageError(
          "limn bench: --collectives needs ranks that talk; start several: mpirun -n 2 limn bench "
          "--collectives");
    }
    return BenchOutput(options, session.rank());
  });
  const at::Device device =
      agree(world, [&] { return choose_device(options.job.parallel.device); });
  const ProcessMesh mesh = agree(world, [&] {
    return ProcessMesh::create(session.rank(), session.size(), session.size(), device);
  });
  const std::vector<CollectiveTime> times = time_all_reduce(mesh.tensor_ranks(), device);
  output.write(
      text_of(times, session.size(), device.str()), json_of(times, session.size(), device.str()));
}

void bench_model(MpiSession& session, Communicator& world, const BenchOptions& options) {
  const Job& job = options.job;
  const BenchOutput output = agree(world, [&] { return BenchOutput(options, session.rank()); });
  const at::Device device = agree(world, [&] { return choose_device(job.parallel.device); });
  const ProcessMesh mesh = agree(world, [&] {
    return ProcessMesh::create(
        session.rank(), session.size(), job.parallel.tensor_parallel, device);
  });
  BenchReport report;
  report.model = agree(world, [&] {
    ModelConfig model = model_of(options.config);
    check_positions(model, options.samples);
    return model;
  });
  DecoderConfig& decoder = report.model.decoder;
  report.config_layers = decoder.num_layers();
  if (options.layers > 0 && options.layers < decoder.num_layers()) {
    decoder.layers.resize(static_cast<std::size_t>(options.layers));
  }
  report.parameters = num_parameters(report.model);
  report.dtype = bench_dtype(job.model.dtype);
  report.compute = choose_sweep_compute(job.model.compute, report.dtype);
  agree(world, [&] { check_sweep_compute(report.compute, device); });
  report.suppression = job.explain.suppression;
  report.device = device_text(device);
  report.threads = at::get_num_threads();
  report.num_groups = mesh.num_groups();
  report.tensor_parallel = mesh.tensor_parallel();
  report.samples = options.samples;
  report.batch_tokens = job.parallel.batch_tokens;

  TimedCommunicator tensor_ranks(mesh.tensor_ranks(), device);
  std::optional<DecoderWeights> weights;
  agree(world, [&] {
    const TensorMemory memory = tensor_memory_of(device, [&] {
      weights = random_decoder_weights(report.model, tensor_ranks, report.dtype, device);
    });
    report.weight_bytes = memory.kept;
  });

  const SweepCost cost = sweep_cost(decoder);
  std::vector<PlannedBatch> batches = plan_samples(
      options.samples,
      decoder.vocab_size,
      {.suppression = report.suppression, .batch_tokens = report.batch_tokens, .cost = cost});
  const SweepWork planned = work_of(batches);
  report.coverage.planned_batches = static_cast<std::int64_t>(batches.size());
  report.coverage.planned_rows = planned.rows;
  batches = spread_batches(std::move(batches), options.batches);
  report.coverage.measured_batches = static_cast<std::int64_t>(batches.size());
  report.coverage.cost_ratio = cost.of(planned) / cost.of(work_of(batches));

  report.result = bench_sweeps(
      report.model,
      *weights,
      batches,
      tensor_ranks,
      world,
      {.suppression = report.suppression,
       .compute = report.compute,
       .device = device,
       .repeat = static_cast<int>(options.repeat)});
  output.write(text_of(report), json_of(report));
}

}  // namespace

ExitCode bench_on_all_ranks(MpiSession& session, Communicator& world, const BenchOptions& options) {
  at::set_num_threads(choose_thread_count(session.ranks_on_node()));
  if (options.subject == BenchSubject::Collectives) {
    bench_collectives(session, world, options);
  } else {
    bench_model(session, world, options);
  }
  return ExitCode::Done;
}

}  // namespace limn
