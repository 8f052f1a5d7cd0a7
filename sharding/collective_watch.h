// Who keeps the ranks of a group waiting. Private to sharding.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "sharding/mpi_handle.h"
#include "sharding/patience.h"

namespace limn {

// A thread on every rank of a group that knows whether its rank is in a collective, and says so to
// the others' when they ask: one whose rank has been in one for longer than the timeout does. So
// ranks that are in the same collective are told from those that have not come to it and those that
// do not run at all. Without a timeout there is no thread.
//
// Threads: visits on one thread at a time.
class CollectiveWatch {
 public:
  // Takes over a communicator of the watch's own. Collective.
  CollectiveWatch(MpiComm ranks, Patience patience);
  ~CollectiveWatch();
  CollectiveWatch(const CollectiveWatch&) = delete;
  CollectiveWatch& operator=(const CollectiveWatch&) = delete;

  // While it lives, this rank is in a collective, the next one of the group.
  class Visit {
   public:
    explicit Visit(CollectiveWatch& watch);
    ~Visit();
    Visit(const Visit&) = delete;
    Visit& operator=(const Visit&) = delete;

   private:
    CollectiveWatch& watch_;
  };

 private:
  using Clock = std::chrono::steady_clock;

  // What a rank knows of itself.
  struct Place {
    std::int64_t num_begun = 0;  // collectives
    std::int64_t is_in_one = 0;
  };

  void watch(const std::stop_token& stop);
  void answer_calls();
  void call(const Place& mine);
  void take_answers();
  void judge();
  Place place() const;
  double seconds_in_collective() const;

  MpiComm ranks_;
  Patience patience_;
  std::vector<std::string> names_;  // "rank 3 on node2"

  std::atomic<std::int64_t> num_begun_ = 0;
  std::atomic<Clock::rep> entered_at_ = 0;  // 0: not in a collective

  // Of the thread.
  Place place_when_called_;
  Clock::time_point called_at_;
  bool is_calling_ = false;
  std::vector<Place> answers_;  // by rank; those that have not answered have begun -1

  std::jthread thread_;  // last: it uses all of the above
};

}  // namespace limn
