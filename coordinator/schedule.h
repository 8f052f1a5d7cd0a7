// The coordinator: hands batches to groups, collects deltas, makes them durable.
#pragma once

#include <chrono>
#include <cstdint>
#include <future>
#include <map>
#include <optional>
#include <unordered_set>

#include "coordinator/batch_source.h"
#include "coordinator/dealer.h"
#include "coordinator/leader_service.h"
#include "coordinator/progress.h"
#include "sharding/mailbox.h"
#include "storage/run_directory.h"

namespace limn {

struct ScheduleOptions {
  DatasetSurvey survey;
  std::unordered_set<std::int64_t> finished_batches;  // those of the run directory
  double interval_s = 60;                             // between two seals
  // Of results that wait for the part before theirs to be on disk: with more, nothing is dealt out.
  std::int64_t most_unsealed_bytes = std::int64_t{256} << 20;
  ServiceOptions service;
};

// Deals out the batches of the plan. What is computed does not depend on the order in which results
// arrive. Parts are sealed by a thread of their own, one after the other, while leaders are served:
// a slow disk keeps no group waiting until memory is full of what waits for it. Borrows: all that
// it is made of.
class Schedule final : public LeaderService {
 public:
  Schedule(
      const Mailbox& mailbox,
      BatchSource& source,
      RunDirectory& run_directory,
      ScheduleOptions options);

  // Threads: one thread, which alone receives LetterTag::ToCoordinator.
  //
  // Throws IoError when a part cannot be written, DataError when the dataset has changed since its
  // survey, InternalError when a result makes no sense. What was complete and not sealed is lost.
  RunOutcome run() override;

  // Seals what is complete before it returns.
  void abandon() override { dealer_.abandon(); }

  bool has_left_in_order() const override { return has_left_in_order_; }

  // Those that are sealed.
  std::int64_t num_durable_batches() const override { return num_sealed_batches_; }

 private:
  using Clock = std::chrono::steady_clock;

  RunOutcome serve();
  StopRequest current_request() const;
  void hand_out();
  std::optional<PlannedBatch> next_unfinished();
  void commit(const BatchResult& result);
  void commit(const PlannedBatch& planned, const BatchResult& result);
  void tell_of_failure(const Sample& sample, const SampleRecord& record);
  void count_as_done(const PlannedBatch& planned);
  bool waits_for_disk();
  void seal_if_due();
  void begin_seal();
  bool is_sealing() const;
  void end_seal();
  void seal_everything();

  Dealer dealer_;
  BatchSource& source_;
  RunDirectory& run_directory_;
  ScheduleOptions options_;
  bool source_is_dry_ = false;
  bool takes_more_ = true;                           // false once a stop was asked for
  std::map<std::int64_t, PlannedBatch> handed_out_;  // by batch id
  std::map<std::int64_t, std::int64_t>
      open_perturbations_;  // by index of a sample that is under way
  OpenPart part_;
  std::int64_t part_bytes_ = 0;                      // about
  std::future<SealReport> sealing_;                  // the part that is being sealed, if any
  std::unordered_set<std::int64_t> failed_samples_;  // by index; of this start
  std::int64_t num_sealed_batches_ = 0;
  bool has_told_of_slow_disk_ = false;
  bool has_left_in_order_ = true;

  Progress progress_;
  ProgressReporter reporter_;
  Clock::time_point last_seal_ = Clock::now();
};

}  // namespace limn
