// The job file: a job as TOML, with flags that override its keys.
//
// docs/job-file.md specifies it; the keys are those of job_keys().
#pragma once

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "coordinator/job.h"

namespace limn {

// A flag that stands for a key: `--explain.factor 0.1`. It wins over the file.
struct JobOverride {
  std::string key;  // one of job_keys()
  std::string value;
};

// Reads a job file. Relative paths in it are relative to the current directory, like those of
// flags.
// Throws IoError when the file cannot be read, JobError when anything is wrong with it or with the
// overrides: all mistakes at once, one a line, in the order of the file, each with file and line,
// or flag.
Job read_job(const std::filesystem::path& path, std::span<const JobOverride> overrides);

// The same from TOML text that came from `where`.
Job parse_job(
    std::string_view toml, std::string_view where, std::span<const JobOverride> overrides);

// The job as TOML with every key, which reads back as an equal job.
std::string to_toml(const Job& job);

// Every key that can alter deltas or batches, with its value. What model.path and data.path lead to
// is not among them: it is fingerprinted by content.
std::map<std::string, std::string> value_fingerprint(const Job& job);

}  // namespace limn
