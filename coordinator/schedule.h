// The coordinator: hands batches to groups, collects deltas, makes them durable.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <future>
#include <map>
#include <unordered_set>
#include <vector>

#include "coordinator/batch_source.h"
#include "coordinator/progress.h"
#include "coordinator/stop_request.h"
#include "sharding/mailbox.h"
#include "storage/run_directory.h"

namespace limn {

enum class RunOutcome {
  Done,     // every batch of the plan is in a sealed part
  Stopped,  // what was complete is in sealed parts; a later start goes on
};

struct ScheduleOptions {
  DatasetSurvey survey;
  std::unordered_set<std::int64_t> finished_batches;  // those of the run directory
  double interval_s = 60;                             // between two seals
  std::vector<int> leaders;                           // ranks of the groups' leaders
  std::function<StopRequest()> stop_request;
  std::function<void(const Progress&)> report;  // called some times a second
};

// Deals out batches dynamically: a group that is faster gets more, and none gets a second one to
// hold while another has none. What is computed does not depend on the order in which results
// arrive. Parts are sealed by a thread of their own, one after the other, while leaders are served:
// a slow disk keeps no group waiting, until it takes longer for a part than the interval. Borrows:
// all that it is made of.
class Schedule {
 public:
  Schedule(
      const Mailbox& mailbox,
      BatchSource& source,
      RunDirectory& run_directory,
      ScheduleOptions options);

  // Serves the leaders until every batch is sealed or a stop was asked for. StopRequest::FinishPart
  // waits for the batches that are being computed; StopRequest::Now does not, and leaves the
  // leaders without an answer: the caller ends the job. Threads: one thread, which alone receives
  // LetterTag::ToCoordinator.
  //
  // Throws IoError when a part cannot be written, DataError when the dataset has changed since its
  // survey, InternalError when a result makes no sense; before that it waits for the batches that
  // are being computed and dismisses the leaders, so that all ranks leave the run in order and can
  // agree on the failure. What was complete and not sealed is lost.
  RunOutcome run();

  // Makes run() seal what is complete and return as for StopRequest::Now, or throw without waiting
  // when it has failed. Any thread.
  void abandon() { abandoned_.store(true); }

  // Batches that this start computed and sealed.
  std::int64_t num_sealed_batches() const { return num_sealed_batches_; }

 private:
  using Clock = std::chrono::steady_clock;

  // What a leader has, and still wants.
  struct Leader {
    int rank = 0;
    int num_held = 0;       // batches without a result
    int num_asked_for = 0;  // batches more
  };

  RunOutcome serve();
  StopRequest current_request() const;
  void receive_letters();
  std::optional<Letter> letter_within(std::chrono::milliseconds time);
  void take(const Letter& letter);
  Leader* next_leader();
  void hand_out();
  std::optional<PlannedBatch> next_unfinished();
  void commit(const BatchResult& result);
  void commit(const PlannedBatch& planned, const BatchResult& result);
  void count_as_done(const PlannedBatch& planned);
  void seal_if_due();
  void begin_seal();
  bool has_sealed() const;
  void end_seal();
  void seal_everything();
  void dismiss_leaders();
  void report();

  const Mailbox& mailbox_;
  BatchSource& source_;
  RunDirectory& run_directory_;
  ScheduleOptions options_;
  std::atomic<bool> abandoned_ = false;

  bool source_is_dry_ = false;
  bool takes_more_ = true;  // false once a stop was asked for
  std::vector<Leader> leaders_;
  std::map<std::int64_t, PlannedBatch> handed_out_;  // by batch id
  // That leaders have yet to send: for every batch a result, before the first ones a word that they
  // are ready.
  std::int64_t num_letters_due_ = 0;
  std::map<std::int64_t, std::int64_t>
      open_perturbations_;  // by index of a sample that is under way
  OpenPart part_;
  std::future<std::int64_t> sealing_;  // the batches of the part that is being sealed, if any
  std::int64_t num_sealed_batches_ = 0;

  Progress progress_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_seal_ = start_;
  Clock::time_point last_report_ = start_;
};

}  // namespace limn
