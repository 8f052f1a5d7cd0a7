// The script that a job is submitted to Slurm with.
//
// docs/slurm.md says what it does when Slurm stops or moves the job.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace limn {

enum class Launcher { Srun, Mpirun };

// Everything that a script says. Paths are absolute.
struct SbatchScript {
  // What is run, and where.
  std::filesystem::path limn;      // the program
  std::filesystem::path mpirun;    // with Launcher::Mpirun; a name without a folder is looked for
  std::filesystem::path folder;    // that relative paths of the job start from
  std::filesystem::path job;       // the job file
  std::vector<std::string> flags;  // of `limn run`, each with its value behind it
  std::filesystem::path run;       // the run directory; of an array, the folder of its tasks' ones

  // What Slurm is asked for.
  std::string name;
  Launcher launcher = Launcher::Srun;
  std::int64_t nodes = 1;
  std::int64_t ranks_per_node = 1;
  std::int64_t gpus_per_node = 0;             // 0: none
  std::optional<std::int64_t> cpus_per_rank;  // none: what the cluster gives
  std::string time;                           // as Slurm writes it
  std::int64_t warning_s = 0;                 // USR1 so long before the end; 0: none
  std::optional<std::string> partition;
  std::optional<std::string> account;
  std::vector<std::string> options;  // further ones of sbatch, each a line of its own
  std::optional<std::int64_t>
      array;  // tasks, each explaining a shard of the dataset; none: no array

  std::int64_t max_restarts = 0;
};

// The script as a text of bash. Whatever paths and values hold, the shell takes them literally.
std::string to_text(const SbatchScript& script);

// How the first line behind "#!/bin/bash" begins, by which a script is known as limn's own.
inline constexpr std::string_view kSbatchScriptMark = "# Written by `limn plan`";

// `text` as one literal word of a shell.
std::string shell_quoted(std::string_view text);

// The seconds of a time limit as Slurm takes it: "90" (minutes), "1:30:00", "2-12". Nothing if it
// is none, or no time at all.
std::optional<std::int64_t> time_limit_s(std::string_view text);

}  // namespace limn
