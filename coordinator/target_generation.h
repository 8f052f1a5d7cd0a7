// Has the groups answer the prompts and makes their answers durable.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>

#include "coordinator/dealer.h"
#include "coordinator/generation_plan.h"
#include "coordinator/leader_service.h"
#include "storage/generated_targets.h"

namespace limn {

struct TargetGenerationOptions {
  std::filesystem::path path;    // of the file of targets
  std::int64_t num_samples = 0;  // of the dataset
  // Whether there are deltas of earlier starts of which nobody can tell what they explain: their
  // targets must all be in the file.
  bool targets_are_explained = false;
  // Called before anything is written; what it throws ends the generation.
  std::function<void()> check_before_write = {};
  ServiceOptions service;
};

// Goes on where the file ends: a batch of which an answer is missing there is asked for again.
// Batches are written in their order, each as soon as it and all before it are answered, so at most
// some per group are lost when the run is killed. Borrows: mailbox and plan.
class TargetGeneration final : public LeaderService {
 public:
  TargetGeneration(const Mailbox& mailbox, GenerationPlan& plan, TargetGenerationOptions options);

  // Throws IoError when the file cannot be written, DataError when it is damaged, lacks targets
  // that are explained already or belongs to another dataset, InternalError when a result makes no
  // sense.
  RunOutcome run() override;

  void abandon() override { dealer_.abandon(); }

  bool has_left_in_order() const override { return has_left_in_order_; }

  std::int64_t num_durable_batches() const override { return num_durable_batches_; }

 private:
  RunOutcome serve();
  void pass_over_finished();
  bool is_finished(const GenerationBatch& batch, GeneratedTargetsReader& file) const;
  void hand_out();
  void take(const GenerationResult& result);
  void write_in_order();

  Dealer dealer_;
  GenerationPlan& plan_;
  TargetGenerationOptions options_;
  std::optional<GeneratedTargetsWriter> writer_;
  std::optional<GenerationBatch> next_;  // the first that is not handed out, unless there is none
  std::map<std::int64_t, GenerationBatch> handed_out_;  // by id
  std::map<std::int64_t, GenerationResult> answered_;   // that wait for one before them
  std::int64_t next_to_write_ = 0;
  std::int64_t num_durable_batches_ = 0;
  bool takes_more_ = true;  // false once a stop was asked for
  bool has_left_in_order_ = true;

  Progress progress_;
  ProgressReporter reporter_;
};

}  // namespace limn
