// What the coordinator's thread does: it serves the leaders of the groups.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "coordinator/progress.h"
#include "coordinator/stop_request.h"

namespace limn {

enum class RunOutcome {
  Done,     // all work is done and durable
  Stopped,  // what was complete is durable; a later start goes on
};

// Threads: run() on one thread, abandon() from any.
class LeaderService {
 public:
  virtual ~LeaderService() = default;

  // Serves until all is done or a stop was asked for, and dismisses the leaders.
  // StopRequest::FinishPart waits for the batches that are being computed; StopRequest::Now does
  // not, and leaves the leaders without an answer: the caller ends the job. An exception leaves in
  // order, too: after the batches that are being computed, with the leaders dismissed.
  virtual RunOutcome run() = 0;

  // Makes run() return as for StopRequest::Now, or throw without waiting when it has failed.
  virtual void abandon() = 0;

  // Batches that this start computed and made durable.
  virtual std::int64_t num_durable_batches() const = 0;
};

// How a service talks to those outside.
struct ServiceOptions {
  std::vector<int> leaders;  // ranks of the groups' leaders
  std::function<StopRequest()> stop_request;
  std::function<void(const Progress&)> report;  // called some times a second
};

}  // namespace limn
