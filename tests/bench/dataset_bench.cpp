// What a dataset of any length takes: time and memory of its survey, and of walking it in a run.
//
//   dataset_bench MODEL RECORDS KIND THREADS
//
// Writes RECORDS records into a temporary folder, as JSON Lines packed by gzip, in ten shards,
// surveys them, then takes all batches of their plan. MODEL is a Hugging Face folder whose
// tokenizer encodes the texts. KIND:
//   text    a prompt of about 60 words and a target, explained by sentence
//   ids     three token ids, which need no tokenizer: the cost of a record itself
//
// One JSON line:
//   packed_mb      of the shards
//   write_s        to make them
//   survey_s, records_per_s    of the survey, by the clock
//   processor_s    of the survey, of all its threads
//   walk_s         of the batches
//   rss_mb         resident memory before the survey, its peak during it, and during the walk

#include <stdlib.h>
#include <sys/resource.h>
#include <zlib.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "coordinator/batch_source.h"
#include "coordinator/tokenizer.h"

namespace limn::test {

namespace {

namespace fs = std::filesystem;

using Clock = std::chrono::steady_clock;

constexpr int kNumShards = 10;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Of the process, in user and kernel mode.
double processor_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// "VmRSS" or "VmHWM", its peak since forget_peak().
double resident_mb(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(key + ":")) return std::stod(line.substr(key.size() + 1)) / 1024;
  }
  throw std::runtime_error("/proc/self/status has no " + key);
}

void forget_peak() {
  std::ofstream("/proc/self/clear_refs") << "5";
}

std::string text_record(std::uint64_t number) {
  constexpr const char* kWords[] = {
      "river",
      "house",
      "the",
      "of",
      "seventeen",
      "old",
      "green",
      "market",
      "quickly",
      "station",
      "and",
      "under",
      "morning",
      "letter",
      "never",
      "winter"};
  std::string prompt;
  std::uint64_t random = number * 2654435761 + 1;
  for (int word = 0; word < 60; ++word) {
    random = random * 6364136223846793005 + 1442695040888963407;
    prompt += kWords[random >> 60U];
    prompt += word % 12 == 11 ? ". " : " ";
  }
  return fmt::format(
      R"({{"prompt": "{}Question: who wrote letter {}?\nAnswer:", "target": " The station."}})",
      prompt,
      number);
}

std::string record(const std::string& kind, std::int64_t number) {
  if (kind == "text") return text_record(static_cast<std::uint64_t>(number));
  if (kind != "ids") throw std::invalid_argument("KIND: text or ids");
  return fmt::format(
      R"({{"id": "record-{}", "input_ids": [{}, 5], "target_ids": [7]}})", number, number % 1000);
}

void write_shards(const fs::path& folder, const std::string& kind, std::int64_t num_records) {
  for (int shard = 0; shard < kNumShards; ++shard) {
    const fs::path path = folder / fmt::format("shard-{:02}.jsonl.gz", shard);
    const gzFile file = ::gzopen(path.c_str(), "wb1");
    if (file == nullptr) throw std::runtime_error("cannot be written: " + path.string());
    const std::int64_t end = num_records * (shard + 1) / kNumShards;
    for (std::int64_t i = num_records * shard / kNumShards; i < end; ++i) {
      const std::string line = record(kind, i) + "\n";
      ::gzwrite(file, line.data(), static_cast<unsigned>(line.size()));
    }
    if (::gzclose(file) != Z_OK) throw std::runtime_error("cannot be written: " + path.string());
  }
}

double packed_mb(const fs::path& folder) {
  std::uintmax_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(folder))
    bytes += entry.file_size();
  return static_cast<double>(bytes) * 1e-6;
}

void measure(const std::vector<std::string>& arguments) {
  if (arguments.size() != 4) throw std::invalid_argument("MODEL RECORDS KIND THREADS");
  const std::int64_t num_records = std::stoll(arguments[1]);
  const std::string& kind = arguments[2];
  const int num_threads = std::stoi(arguments[3]);

  std::string name = (fs::temp_directory_path() / "limn-dataset-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder: " + name);
  const fs::path folder = name;
  const auto write_start = Clock::now();
  write_shards(folder, kind, num_records);
  const double write_s = seconds_since(write_start);
  const double mb = packed_mb(folder);

  const Tokenizer tokenizer = Tokenizer::load(arguments[0]);
  Job job;
  job.data.path = folder;
  job.explain.units = kind == "ids" ? UnitKind::Token : UnitKind::Sentence;
  const SamplePreparer preparer(
      kind == "ids" ? nullptr : &tokenizer,
      job.explain,
      {.vocab_size = tokenizer.vocab_size(), .max_positions = 8192});
  const SweepCost cost{.per_row = 2e9, .per_key = 1e5};

  const double rss_before = resident_mb("VmRSS");
  forget_peak();
  const double processor_before = processor_seconds();
  const auto survey_start = Clock::now();
  const DatasetSurvey survey = survey_dataset(job, preparer, cost, {}, num_threads);
  const double survey_s = seconds_since(survey_start);
  const double processor_s = processor_seconds() - processor_before;
  const double rss_survey = resident_mb("VmHWM");

  forget_peak();
  const auto walk_start = Clock::now();
  std::int64_t num_batches = 0;
  BatchSource source(job, preparer, cost, num_threads);
  while (source.next())
    ++num_batches;
  if (num_batches != survey.num_batches) throw std::runtime_error("another plan");
  fmt::print(
      "{{\"records\": {}, \"kind\": \"{}\", \"threads\": {}, \"packed_mb\": {:.0f}, \"write_s\": "
      "{:.1f}, \"survey_s\": {:.1f}, \"records_per_s\": {:.0f}, \"processor_s\": {:.1f}, "
      "\"walk_s\": {:.1f}, \"batches\": {}, \"rss_mb\": [{:.0f}, {:.0f}, {:.0f}]}}\n",
      num_records,
      kind,
      num_threads,
      mb,
      write_s,
      survey_s,
      static_cast<double>(num_records) / survey_s,
      processor_s,
      seconds_since(walk_start),
      num_batches,
      rss_before,
      rss_survey,
      resident_mb("VmHWM"));
  fs::remove_all(folder);
}

}  // namespace

}  // namespace limn::test

int main(int argc, char** argv) {
  limn::test::measure({argv + 1, argv + argc});
}
