// What the coordinator's thread does: it serves the leaders of the groups.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
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

// What a service tells of, once it has happened.
struct SealReport {  // of a part
  std::string name;  // of its file
  std::int64_t num_batches = 0;
  std::int64_t num_samples = 0;
  double seconds = 0;  // that sealing took
};

struct FailedSample {
  std::int64_t index = 0;  // in the dataset
  std::string id;
  std::string message;
};

// How a service talks to those outside. It calls them on the thread of run().
struct ServiceOptions {
  std::vector<int> leaders;  // ranks of the groups' leaders
  std::function<StopRequest()> stop_request;
  // Whether there is time for a batch that takes so many seconds from now on.
  std::function<bool(double seconds)> has_time_for = [](double) { return true; };
  double timeout_s = 600;                       // see Dealer::expect_results()
  std::function<void(const Progress&)> report;  // called some times a second
  std::function<void(const SealReport&)> sealed = [](const SealReport&) {};
  // Once for each sample that this start finds to fail; it is not durable yet.
  std::function<void(const FailedSample&)> sample_failed = [](const FailedSample&) {};
};

}  // namespace limn
