// How many batches a coordinator sustains.
//
//   mpirun -n RANKS coordinator_bench FOLDER KIND SAMPLES INTERVAL_S
//
// A run with everything but models: the real dataset reader, plan, schedule, letters and run
// directory; on every rank a leader that answers at once, with deltas that cost nothing to compute.
// FOLDER must not be there yet and is left behind. KIND:
//   tokens      1,024 tokens, each a unit, and 16 targets: about 16 units a batch and more
//   sentences   240 tokens in units of 16, and 16 targets: some samples a batch
//   one_sample  the same, each sample a batch of its own, of 15 units and 16 targets
// Samples are token ids, so that no tokenizer runs. INTERVAL_S is checkpoint.interval_s.
//
// Where there are more ranks than cores, time on the clock is not the coordinator's alone: beside
// it stands the processor time of its thread. One JSON line:
//   wall_s             from the first batch to the last seal, of the coordinator's thread
//   processor_s        of that thread, in user and kernel mode
//   batches_per_s      by the clock
//   limit_per_s        batches over processor_s: what a core of its own would sustain
//   letter_bytes       of a batch and of a result, in the mean
//   survey_s           processor time of reading and planning once: before the first batch, and as
//                      a share of processor_s
//   parts, part_bytes  sealed parts and their bytes
//   merge_s            on the clock
//   idle_us_per_s      processor time of the coordinator's thread for each second in which it waits
//                      for letters

#include <pthread.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "coordinator/batch.h"
#include "coordinator/batch_source.h"
#include "coordinator/protocol.h"
#include "coordinator/schedule.h"
#include "sharding/mailbox.h"
#include "sharding/mpi_session.h"
#include "storage/run_directory.h"

namespace limn::test {

namespace {

namespace fs = std::filesystem;

using Clock = std::chrono::steady_clock;

// Qwen3-32B, as worker/decoder_cost.h counts it.
constexpr SweepCost kCost{.per_row = 6.24e10, .per_key = 2.1e6};

const ModelLimits kModel{.vocab_size = 32000, .max_positions = 0};

struct Kind {
  std::string_view name;
  std::int64_t prompt_tokens = 0;
  std::int64_t unit_tokens = 0;
  std::int64_t batch_tokens = 0;
};

constexpr Kind kKinds[] = {
    {"tokens", 1024, 1, 16384},
    {"sentences", 240, 16, 16384},
    {"one_sample", 240, 16, 2400},
};

constexpr std::int64_t kNumTargets = 16;

const Kind& kind_of(std::string_view name) {
  for (const Kind& kind : kKinds) {
    if (kind.name == name) return kind;
  }
  throw std::invalid_argument("KIND: tokens, sentences or one_sample");
}

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Of the calling thread.
double processor_seconds() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

template <typename WriteItem>
std::string json_list(std::int64_t count, WriteItem&& write_item) {
  std::string list = "[";
  for (std::int64_t i = 0; i < count; ++i)
    list += (i > 0 ? "," : "") + write_item(i);
  return list + "]";
}

void write_dataset(const fs::path& path, const Kind& kind, std::int64_t num_samples) {
  const auto number = [](std::int64_t i) { return std::to_string((i * 7919 + 3) % 32000); };
  const std::string prompt = json_list(kind.prompt_tokens, number);
  const std::string target = json_list(kNumTargets, number);
  const std::string units =
      json_list(kind.prompt_tokens / kind.unit_tokens, [&](std::int64_t unit) {
        return json_list(kind.unit_tokens, [&](std::int64_t token) {
          return std::to_string(unit * kind.unit_tokens + token);
        });
      });
  std::ofstream file(path);
  for (std::int64_t sample = 0; sample < num_samples; ++sample) {
    file << fmt::format(
        "{{\"id\": \"s{}\", \"input_ids\": {}, \"target_ids\": {}, \"unit_tokens\": {}}}\n",
        sample,
        prompt,
        target,
        units);
  }
  if (!file.flush()) throw std::runtime_error("cannot be written: " + path.string());
}

BatchResult answer_to(const Batch& batch) {
  BatchResult result{batch.id, {}};
  for (const BatchPiece& piece : batch.pieces) {
    const auto num_targets = static_cast<std::size_t>(piece.num_targets());
    PieceResult& measured = result.pieces.emplace_back();
    measured.sample_index = piece.sample_index;
    measured.perturbation_begin = piece.perturbation_begin;
    measured.base_log_prob.assign(num_targets, -1.5F);
    std::uint32_t noise = static_cast<std::uint32_t>(batch.id);
    for (std::size_t i = 0; i < piece.perturbations.size() * num_targets; ++i) {
      // Deltas have random low bits, which the files do not compress.
      noise = noise * 1664525U + 1013904223U;
      measured.delta.push_back(static_cast<float>(noise >> 8U) * 0x1p-24F - 0.5F);
    }
  }
  return result;
}

struct LetterBytes {
  std::int64_t batches = 0;
  std::int64_t results = 0;
  std::int64_t count = 0;
};

// What run_worker() does, with no engine.
LetterBytes lead(const Mailbox& mailbox) {
  constexpr int to_coordinator = static_cast<int>(LetterTag::ToCoordinator);
  LetterBytes bytes;
  for (int i = 0; i < kBatchesHeld; ++i)
    mailbox.send(kCoordinatorRank, to_coordinator, {});
  while (true) {
    const Letter letter = mailbox.receive(static_cast<int>(LetterTag::ToLeader));
    if (letter.bytes.empty()) return bytes;
    auto answer = to_bytes(answer_to(batch_from_bytes(letter.bytes)));
    bytes.batches += std::ssize(letter.bytes);
    bytes.results += std::ssize(answer);
    ++bytes.count;
    mailbox.send(kCoordinatorRank, to_coordinator, std::move(answer));
  }
}

// What the coordinator's thread costs while it waits for letters that do not come.
double idle_us_per_s(const Mailbox& mailbox) {
  constexpr int nobodys_tag = 17;
  const auto start = Clock::now();
  const double before = processor_seconds();
  while (seconds_since(start) < 2)
    mailbox.receive_within(nobodys_tag, std::chrono::milliseconds(50));
  return 1e6 * (processor_seconds() - before) / seconds_since(start);
}

struct Options {
  fs::path folder;
  Kind kind;
  std::int64_t num_samples = 0;
  double interval_s = 0;
};

// On rank 0: the coordinator, in a thread of its own beside the leader, and its figures.
void coordinate(const Options& options, int num_ranks, const Mailbox& mailbox) {
  Job job;
  job.data.path = options.folder / "data.jsonl";
  job.explain.units = UnitKind::Given;
  job.parallel.batch_tokens = options.kind.batch_tokens;
  fs::create_directories(options.folder);
  write_dataset(job.data.path, options.kind, options.num_samples);
  const SamplePreparer preparer(nullptr, job.explain, kModel);
  auto run_directory = RunDirectory::open(
      options.folder / "run", {.fingerprint = {{"bench", "coordinator"}}, .attributes = {}});

  const double before_survey = processor_seconds();
  ScheduleOptions schedule_options;
  schedule_options.survey = survey_dataset(job, preparer, kCost, {});
  const double survey_s = processor_seconds() - before_survey;
  schedule_options.interval_s = options.interval_s;
  for (int rank = 0; rank < num_ranks; ++rank)
    schedule_options.service.leaders.push_back(rank);
  schedule_options.service.stop_request = [] { return StopRequest::None; };
  schedule_options.service.report = [](const Progress&) {};
  BatchSource source(job, preparer, kCost);
  Schedule schedule(mailbox, source, run_directory, schedule_options);

  double wall_s = 0;
  double processor_s = 0;
  double idle_us = 0;
  std::thread thread([&] {
    ::pthread_setname_np(::pthread_self(), "coordinator");
    const auto start = Clock::now();
    const double before = processor_seconds();
    schedule.run();
    processor_s = processor_seconds() - before;
    wall_s = seconds_since(start);
    idle_us = idle_us_per_s(mailbox);
  });
  const LetterBytes bytes = lead(mailbox);
  thread.join();

  std::int64_t num_parts = 0;
  std::uintmax_t part_bytes = 0;
  for (const auto& entry : fs::directory_iterator(options.folder / "run" / "parts")) {
    ++num_parts;
    part_bytes += entry.file_size();
  }
  const auto merge_start = Clock::now();
  run_directory.merge(options.num_samples);
  const double merge_s = seconds_since(merge_start);

  const auto num_batches = static_cast<double>(schedule_options.survey.num_batches);
  const auto num_letters = static_cast<double>(std::max<std::int64_t>(bytes.count, 1));
  fmt::print(
      "{{\"kind\": \"{}\", \"leaders\": {}, \"samples\": {}, \"batches\": {}, \"wall_s\": {:.3f}, "
      "\"processor_s\": {:.3f}, \"batches_per_s\": {:.0f}, \"limit_per_s\": {:.0f}, "
      "\"letter_bytes\": [{:.0f}, {:.0f}], \"survey_s\": {:.3f}, \"parts\": {}, "
      "\"part_bytes\": {}, \"merge_s\": {:.3f}, \"idle_us_per_s\": {:.0f}}}\n",
      options.kind.name,
      num_ranks,
      options.num_samples,
      schedule_options.survey.num_batches,
      wall_s,
      processor_s,
      num_batches / wall_s,
      num_batches / processor_s,
      static_cast<double>(bytes.batches) / num_letters,
      static_cast<double>(bytes.results) / num_letters,
      survey_s,
      num_parts,
      part_bytes,
      merge_s,
      idle_us);
}

Options options_of(const std::vector<std::string>& arguments) {
  if (arguments.size() != 4) throw std::invalid_argument("FOLDER KIND SAMPLES INTERVAL_S");
  const Options options{
      .folder = arguments[0],
      .kind = kind_of(arguments[1]),
      .num_samples = std::stoll(arguments[2]),
      .interval_s = std::stod(arguments[3])};
  return options;
}

}  // namespace

}  // namespace limn::test

int main(int argc, char** argv) {
  limn::MpiSession session(&argc, &argv);
  {
    const auto options = limn::test::options_of({argv + 1, argv + argc});
    const limn::Mailbox mailbox = limn::Mailbox::open();
    if (session.rank() == limn::kCoordinatorRank) {
      if (std::filesystem::exists(options.folder)) throw std::invalid_argument("FOLDER is there");
      limn::test::coordinate(options, session.size(), mailbox);
    } else {
      limn::test::lead(mailbox);
    }
  }
  session.finalize();
}
