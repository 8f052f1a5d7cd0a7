// The letters between the coordinator, the leaders of the groups and their members.
#pragma once

namespace limn {

// Tags of the letters, by who opens them. The coordinator is a thread of rank 0 beside the leader
// of group 0, so they need tags of their own.
enum class LetterTag : int {
  // From a leader: a BatchResult; empty: ready for one more batch. Every result, too, asks for one
  // more.
  ToCoordinator = 1,
  // From the coordinator to a leader: a Batch; empty: there are no more.
  ToLeader = 2,
  // From a leader to each member of its group: what the coordinator sent.
  ToMember = 3,
};

// How many batches a leader holds: the one it computes and the next, so that it never waits for
// work.
inline constexpr int kBatchesHeld = 2;

// The rank whose thread is the coordinator.
inline constexpr int kCoordinatorRank = 0;

}  // namespace limn
