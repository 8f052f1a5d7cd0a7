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
  // order, too, if the batches that are being computed end within some seconds.
  virtual RunOutcome run() = 0;

  // Makes run() return as for StopRequest::Now, or throw without waiting when it has failed.
  virtual void abandon() = 0;

  // Whether run() has dismissed all leaders, or they are about to be ended. Where it has failed
  // while one was deep in a batch, it has not waited for that: the caller ends the job.
  virtual bool has_left_in_order() const = 0;

  // Batches that this start computed and made durable.
  virtual std::int64_t num_durable_batches() const = 0;
};

// How a service talks to those outside.
struct ServiceOptions {
  std::vector<int> leaders;  // ranks of the groups' leaders
  std::function<StopRequest()> stop_request;
  // Whether there is time for a batch that takes so many seconds from now on.
  std::function<bool(double seconds)> has_time_for = [](double) { return true; };
  double timeout_s = 600;                       // see Dealer::expect_results()
  std::function<void(const Progress&)> report;  // called some times a second
};

}  // namespace limn
