#include "worker/worker_loop.h"

#include <cstddef>
#include <exception>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "coordinator/batch.h"
#include "coordinator/generation.h"
#include "coordinator/protocol.h"
#include "sharding/node_name.h"
#include "worker/memory_halving.h"

namespace limn {

namespace {

constexpr int kToCoordinator = static_cast<int>(LetterTag::ToCoordinator);
constexpr int kToLeader = static_cast<int>(LetterTag::ToLeader);
constexpr int kToMember = static_cast<int>(LetterTag::ToMember);

// The next batch of this rank's group, as bytes; none when there are no more.
std::vector<std::byte> next_batch(const ProcessMesh& mesh) {
  const Mailbox& mailbox = mesh.mailbox();
  Letter letter = mailbox.receive(mesh.is_leader() ? kToLeader : kToMember);
  if (mesh.is_leader()) {
    const int leader = mesh.world_rank();
    for (int member = leader + 1; member < leader + mesh.tensor_parallel(); ++member) {
      mailbox.send(member, kToMember, letter.bytes);
    }
  }
  return std::move(letter.bytes);
}

template <typename Engine, typename Batch>
std::vector<std::byte> result_of(const ProcessMesh& mesh, Engine& engine, const Batch& batch) {
  try {
    return to_bytes(run_in_memory(
        batch,
        mesh.tensor_ranks(),
        [&](const Batch& part) { return engine.run(part); },
        [&] { engine.release_memory(); }));
  } catch (...) {
    throw BatchFailure(text_of(batch), failure_text(std::current_exception()));
  }
}

template <typename Engine, typename BatchOf>
void compute_batches(const ProcessMesh& mesh, Engine& engine, const BatchOf& batch_of) {
  const Mailbox& mailbox = mesh.mailbox();
  if (mesh.is_leader()) {
    for (int i = 0; i < kBatchesHeld; ++i)
      mailbox.send(kCoordinatorRank, kToCoordinator, {});
  }
  for (auto batch = next_batch(mesh); !batch.empty(); batch = next_batch(mesh)) {
    std::vector<std::byte> result = result_of(mesh, engine, batch_of(batch));
    if (mesh.is_leader()) mailbox.send(kCoordinatorRank, kToCoordinator, std::move(result));
  }
}

}  // namespace

BatchFailure::BatchFailure(const std::string& batch, const FailureText& failure)
    : Error(
          failure.exit_code,
          fmt::format("{}, on node {}: {}", batch, node_name(), failure.message)) {}

void run_worker(const ProcessMesh& mesh, SweepEngine& engine) {
  compute_batches(mesh, engine, batch_from_bytes);
}

void run_worker(const ProcessMesh& mesh, Generator& generator) {
  compute_batches(mesh, generator, generation_batch_from_bytes);
}

}  // namespace limn
