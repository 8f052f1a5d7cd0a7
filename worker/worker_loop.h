// What a rank does during a run.
#pragma once

#include "sharding/process_mesh.h"
#include "worker/generator.h"
#include "worker/sweep.h"

namespace limn {

// Computes batches on this rank's group until the coordinator has no more. The leader asks for
// work, passes it on to the members of its group and answers. Collective over the group.
void run_worker(const ProcessMesh& mesh, SweepEngine& engine);

// The same with prompts that are answered.
void run_worker(const ProcessMesh& mesh, Generator& generator);

}  // namespace limn
