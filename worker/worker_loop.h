// What a rank does during a run.
#pragma once

#include <string>

#include "sharding/process_mesh.h"
#include "storage/error.h"
#include "worker/generator.h"
#include "worker/sweep.h"

namespace limn {

// A batch failed on this rank: the message names the batch, its samples and the rank's node, and
// then says what the exception said; the exit code is its own.
class BatchFailure : public Error {
 public:
  BatchFailure(const std::string& batch, const FailureText& failure);
};

// Computes batches on this rank's group until the coordinator has no more. The leader asks for
// work, passes it on to the members of its group and answers. A batch that memory does not hold is
// computed in halves, see run_in_memory(). Throws BatchFailure, on this rank alone. Collective over
// the group.
void run_worker(const ProcessMesh& mesh, SweepEngine& engine);

// The same with prompts that are answered.
void run_worker(const ProcessMesh& mesh, Generator& generator);

}  // namespace limn
