// What `limn bench` measures.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "coordinator/job.h"
#include "worker/bench_samples.h"

namespace limn {

enum class BenchSubject { Sweeps, Collectives };

struct BenchOptions {
  BenchSubject subject = BenchSubject::Sweeps;
  std::filesystem::path config;  // a config.json of any name, or a folder with one
  BenchSamples samples;
  std::int64_t batches = 0;  // of the plan, spread evenly; 0: all
  std::int64_t layers = 0;   // the model's first; 0: all
  std::int64_t repeat = 3;
  // Of these the suppression's kind and factor, dtype, compute and `parallel`; dtype auto is
  // bfloat16.
  Job job;
  std::optional<std::filesystem::path> json;  // the file to write the figures into
};

}  // namespace limn
