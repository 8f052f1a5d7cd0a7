// What durability costs: sealing parts, and merging them.
//
//   sealing_bench FOLDER KIND SAMPLES BATCHES SAMPLES_OF_PART
//
// Writes a run directory as a run does, from records in memory, and merges it. FOLDER must not be
// there yet; it is left behind. KIND:
//   tokens      1,024 tokens, each a unit
//   sentences   240 tokens in 15 units
// Either with 16 targets, 4.5 characters of text a token, and deltas of random low bits. Each
// sample is BATCHES batches, in parts of SAMPLES_OF_PART samples. One JSON line; times on the
// clock:
//   seal_s           of all parts, in all; seal_processor_s: of it, in user and kernel mode
//   longest_seal_s   of one part
//   first_seal_s     of a part of one sample: what a seal costs at least
//   bytes_per_sample, bytes_per_delta  on disk, of the parts
//   merge_s, merge_processor_s, merged_bytes

#include <time.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "storage/run_directory.h"

namespace limn::test {

namespace {

namespace fs = std::filesystem;

constexpr std::int32_t kNumTargets = 16;

struct Kind {
  std::string_view name;
  std::int32_t num_tokens = 0;  // of the prompt
  std::int32_t unit_tokens = 0;
};

constexpr Kind kKinds[] = {{"tokens", 1024, 1}, {"sentences", 240, 16}};

const Kind& kind_of(std::string_view name) {
  for (const Kind& kind : kKinds) {
    if (kind.name == name) return kind;
  }
  throw std::invalid_argument("KIND: tokens or sentences");
}

struct Time {
  double wall_s = 0;
  double processor_s = 0;
};

double processor_seconds() {
  timespec time{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

template <typename Step>
Time time_of(Step&& step) {
  const auto start = std::chrono::steady_clock::now();
  const double before = processor_seconds();
  step();
  return {
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(),
      processor_seconds() - before};
}

// Words of a small vocabulary, so that text and ids compress about as a language's do.
SampleRecord record_of(const Kind& kind, std::int64_t index, std::mt19937_64& random) {
  static constexpr std::string_view words[] = {
      "the ", "of ", "nation ", "in ", "which ", "was ", "by ", "river ", "a ", "century, "};
  SampleRecord record;
  record.id = fmt::format("56e1f10ee3433e1400422{:06}", index);
  std::int32_t begin = 0;
  for (std::int32_t token = 0; token < kind.num_tokens + kNumTargets; ++token) {
    // Few ids are frequent, as in any language.
    const auto id = static_cast<std::int32_t>(
        std::min(std::exp2(static_cast<double>(random() % 1000) / 59.0), 150000.0));
    record.text += words[static_cast<std::size_t>(id) % std::size(words)];
    const auto end = static_cast<std::int32_t>(record.text.size());
    record.tokens.push_back({id, {begin, end}});
    begin = end;
  }
  for (std::int32_t token = 0; token < kind.num_tokens; token += kind.unit_tokens) {
    UnitRecord& unit = record.units.emplace_back();
    for (std::int32_t i = token; i < token + kind.unit_tokens; ++i)
      unit.tokens.push_back(i);
    unit.chars = {
        record.tokens[static_cast<std::size_t>(token)].chars.begin,
        record.tokens[static_cast<std::size_t>(token + kind.unit_tokens - 1)].chars.end};
  }
  std::normal_distribution<float> noise;
  for (std::int32_t target = 0; target < kNumTargets; ++target) {
    const std::int32_t position = kind.num_tokens + target;
    record.targets.push_back(
        {position, record.tokens[static_cast<std::size_t>(position)].id, -std::abs(noise(random))});
  }
  for (std::size_t i = 0; i < record.units.size() * record.targets.size(); ++i)
    record.delta.push_back(noise(random) * noise(random));
  return record;
}

struct Options {
  fs::path folder;
  Kind kind;
  std::int64_t num_samples = 0;
  std::int64_t batches_of_sample = 0;
  std::int64_t samples_of_part = 0;
};

OpenPart part_of(const Options& options, std::int64_t begin, std::mt19937_64& random) {
  OpenPart part;
  const std::int64_t end = std::min(begin + options.samples_of_part, options.num_samples);
  for (std::int64_t index = begin; index < end; ++index) {
    part.samples.emplace(index, record_of(options.kind, index, random));
    for (std::int64_t i = 0; i < options.batches_of_sample; ++i)
      part.batch_ids.push_back(index * options.batches_of_sample + i);
  }
  return part;
}

std::uintmax_t bytes_of_parts(const fs::path& run) {
  std::uintmax_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(run / "parts"))
    bytes += entry.file_size();
  return bytes;
}

RunDirectory open_run(const fs::path& path) {
  return RunDirectory::open(path, {.fingerprint = {{"bench", "sealing"}}, .attributes = {}});
}

void run(const Options& options) {
  std::mt19937_64 random(1987);
  RunDirectory smallest = open_run(options.folder / "smallest");
  Options one = options;
  one.samples_of_part = 1;
  const OpenPart smallest_part = part_of(one, 0, random);
  const Time first = time_of([&] { smallest.seal(smallest_part); });

  RunDirectory run = open_run(options.folder / "run");
  Time all;
  double longest_s = 0;
  std::int64_t num_parts = 0;
  for (std::int64_t i = 0; i < options.num_samples; i += options.samples_of_part) {
    const OpenPart part = part_of(options, i, random);
    const Time time = time_of([&] { run.seal(part); });
    all.wall_s += time.wall_s;
    all.processor_s += time.processor_s;
    longest_s = std::max(longest_s, time.wall_s);
    ++num_parts;
  }
  const auto bytes = static_cast<double>(bytes_of_parts(options.folder / "run"));
  const Time merge = time_of([&] { run.merge(options.num_samples); });

  const auto num_samples = static_cast<double>(options.num_samples);
  const double deltas_of_sample =
      static_cast<double>(options.kind.num_tokens / options.kind.unit_tokens * kNumTargets);
  fmt::print(
      "{{\"kind\": \"{}\", \"samples\": {}, \"batches\": {}, \"parts\": {}, \"seal_s\": {:.4f}, "
      "\"seal_processor_s\": {:.4f}, \"longest_seal_s\": {:.4f}, \"first_seal_s\": {:.4f}, "
      "\"bytes_per_sample\": {:.0f}, \"bytes_per_delta\": {:.2f}, \"merge_s\": {:.3f}, "
      "\"merge_processor_s\": {:.3f}, \"merged_bytes\": {}}}\n",
      options.kind.name,
      options.num_samples,
      options.num_samples * options.batches_of_sample,
      num_parts,
      all.wall_s,
      all.processor_s,
      longest_s,
      first.wall_s,
      bytes / num_samples,
      bytes / (num_samples * deltas_of_sample),
      merge.wall_s,
      merge.processor_s,
      fs::file_size(run.result_path()));
}

Options options_of(const std::vector<std::string>& arguments) {
  if (arguments.size() != 5) {
    throw std::invalid_argument("FOLDER KIND SAMPLES BATCHES SAMPLES_OF_PART");
  }
  Options options{
      .folder = arguments[0],
      .kind = kind_of(arguments[1]),
      .num_samples = std::stoll(arguments[2]),
      .batches_of_sample = std::stoll(arguments[3]),
      .samples_of_part = std::stoll(arguments[4])};
  if (fs::exists(options.folder)) throw std::invalid_argument("FOLDER is there");
  fs::create_directories(options.folder);
  return options;
}

}  // namespace

}  // namespace limn::test

int main(int argc, char** argv) {
  limn::test::run(limn::test::options_of({argv + 1, argv + argc}));
}
