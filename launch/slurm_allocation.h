// What Slurm says of the job that this process belongs to.
#pragma once

#include <chrono>
#include <optional>

namespace limn {

// When Slurm will end the job: what squeue says (--time may have been changed since the start), or
// SLURM_JOB_END_TIME where squeue cannot be asked. Nothing outside of Slurm, for a job without a
// limit, and where nobody knows. Takes milliseconds; ten seconds at most, from a controller that
// does not answer.
std::optional<std::chrono::system_clock::time_point> slurm_job_end();

}  // namespace limn
