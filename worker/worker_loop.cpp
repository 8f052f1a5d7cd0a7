#include "worker/worker_loop.h"

#include <optional>

#include "coordinator/batch.h"
#include "coordinator/protocol.h"

namespace limn {

namespace {

constexpr int kToCoordinator = static_cast<int>(LetterTag::ToCoordinator);
constexpr int kToLeader = static_cast<int>(LetterTag::ToLeader);
constexpr int kToMember = static_cast<int>(LetterTag::ToMember);

// The next batch of this rank's group; nothing when there are no more.
std::optional<Batch> next_batch(const ProcessMesh& mesh) {
  const Mailbox& mailbox = mesh.mailbox();
  const Letter letter = mailbox.receive(mesh.is_leader() ? kToLeader : kToMember);
  if (mesh.is_leader()) {
    const int leader = mesh.world_rank();
    for (int member = leader + 1; member < leader + mesh.tensor_parallel(); ++member) {
      mailbox.send(member, kToMember, letter.bytes);
    }
  }
  if (letter.bytes.empty()) return std::nullopt;
  return batch_from_bytes(letter.bytes);
}

}  // namespace

void run_worker(const ProcessMesh& mesh, SweepEngine& engine) {
  const Mailbox& mailbox = mesh.mailbox();
  if (mesh.is_leader()) {
    for (int i = 0; i < kBatchesHeld; ++i)
      mailbox.send(kCoordinatorRank, kToCoordinator, {});
  }
  while (const auto batch = next_batch(mesh)) {
    const BatchResult result = engine.run(*batch);
    if (mesh.is_leader()) mailbox.send(kCoordinatorRank, kToCoordinator, to_bytes(result));
  }
}

}  // namespace limn
