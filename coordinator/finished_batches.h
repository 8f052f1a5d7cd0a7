// Which batches of a plan earlier starts of a run have computed.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "coordinator/batch_plan.h"

namespace limn {

// A number alone does not say what was computed: when a dataset has grown, or a model answered
// otherwise, a batch of the same number may hold other samples. Threads: one thread at a time.
class FinishedBatches {
 public:
  // `contents`: of each batch that was computed, what contents_of() said then; 0: not known, which
  // is believed.
  explicit FinishedBatches(std::unordered_map<std::int64_t, std::int64_t> contents)
      : contents_(std::move(contents)) {}

  // Whether the batch of the plan was computed. To be asked for every batch of the plan, once.
  bool holds(const PlannedBatch& planned);

  // Those that were computed and are not in the plan, or with other contents.
  std::unordered_set<std::int64_t> superseded() const;

 private:
  std::unordered_map<std::int64_t, std::int64_t> contents_;
  std::unordered_set<std::int64_t> in_plan_;
};

}  // namespace limn
