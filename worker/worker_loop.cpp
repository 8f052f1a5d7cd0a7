#include "worker/worker_loop.h"

#include <cstddef>
#include <utility>
#include <vector>

#include "coordinator/batch.h"
#include "coordinator/generation.h"
#include "coordinator/protocol.h"

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

// `compute` makes a result of a batch, both as bytes.
template <typename Compute>
void compute_batches(const ProcessMesh& mesh, const Compute& compute) {
  const Mailbox& mailbox = mesh.mailbox();
  if (mesh.is_leader()) {
    for (int i = 0; i < kBatchesHeld; ++i)
      mailbox.send(kCoordinatorRank, kToCoordinator, {});
  }
  for (auto batch = next_batch(mesh); !batch.empty(); batch = next_batch(mesh)) {
    std::vector<std::byte> result = compute(batch);
    if (mesh.is_leader()) mailbox.send(kCoordinatorRank, kToCoordinator, std::move(result));
  }
}

}  // namespace

void run_worker(const ProcessMesh& mesh, SweepEngine& engine) {
  compute_batches(mesh, [&](const std::vector<std::byte>& bytes) {
    return to_bytes(engine.run(batch_from_bytes(bytes)));
  });
}

void run_worker(const ProcessMesh& mesh, Generator& generator) {
  compute_batches(mesh, [&](const std::vector<std::byte>& bytes) {
    return to_bytes(generator.run(generation_batch_from_bytes(bytes)));
  });
}

}  // namespace limn
