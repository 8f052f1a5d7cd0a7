// Who keeps the ranks of a group waiting. Private to sharding.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "sharding/idle_wait.h"
#include "sharding/mpi_handle.h"

namespace limn {

// Ranks that wait for each other wait here. One that does so for longer than it should asks all
// others whether they have come, too; those that wait answer, and the others are named. Threads:
// one thread at a time, which alone sends and receives on the communicator.
class RollCall {
 public:
  // Borrows: `ranks`, whose letters nobody else opens. `timeout_s` may be infinite. Collective.
  RollCall(const MpiComm& ranks, double timeout_s);

  // Waits until done() is true. Throws InternalError that names the ranks that are neither here nor
  // pass by, with their nodes, some seconds after the timeout.
  template <typename Done>
  void wait(Done&& done) {
    begin();
    wait_idle([&] {
      if (done()) return true;
      look_around();
      return false;
    });
  }

 private:
  using Clock = std::chrono::steady_clock;

  void begin() { begun_at_ = Clock::now(); }

  void look_around();
  void answer_calls() const;
  void call();
  void take_answers();
  void judge();

  const MpiComm& ranks_;
  double timeout_s_;
  std::vector<std::string> names_;  // "rank 3 on node2"

  Clock::time_point begun_at_;
  Clock::time_point called_at_;
  bool is_calling_ = false;
  std::vector<char> has_answered_;  // by rank
};

}  // namespace limn
