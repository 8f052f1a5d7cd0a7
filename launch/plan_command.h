// `limn plan`: how a job is to be run.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "launch/job_file.h"
#include "launch/sbatch_script.h"

namespace limn {

// limn plan JOB.toml --sbatch FILE
struct SubmissionOptions {
  std::filesystem::path job_path;
  std::vector<JobOverride> overrides;  // their values are not checked

  std::filesystem::path sbatch;  // the script to write
  Launcher launcher = Launcher::Srun;
  std::int64_t nodes = 1;
  std::optional<std::int64_t> ranks_per_node;  // none: one for each GPU, or one group's
  std::optional<std::int64_t> gpus_per_node;   // none: one a rank if parallel.device is cuda
  std::optional<std::int64_t> cpus_per_rank;
  std::string time = "04:00:00";
  std::optional<std::int64_t> warning_s;  // none: 180, or half of a short time limit
  std::optional<std::string> partition;
  std::optional<std::string> account;
  std::optional<std::string> name;  // none: of the run directory
  std::vector<std::string> sbatch_options;
  std::optional<std::int64_t> array;
  std::int64_t max_restarts = 20;
};

// Writes the script that submits the job to Slurm and says in `out` what it is, and what to do with
// it. The script names the program that runs now, and the current directory as the job's.
// Throws what read_job() throws; UsageError when an option is none, when options contradict each
// other or the job, and when a file is in the script's place that limn did not write; IoError.
void plan(const SubmissionOptions& options, std::ostream& out);

}  // namespace limn
