#include "coordinator/finished_batches.h"

namespace limn {

bool FinishedBatches::holds(const PlannedBatch& planned) {
  const auto found = contents_.find(planned.batch.id);
  if (found == contents_.end()) return false;
  if (found->second != 0 && found->second != contents_of(planned)) return false;
  in_plan_.insert(planned.batch.id);
  return true;
}

std::unordered_set<std::int64_t> FinishedBatches::superseded() const {
  std::unordered_set<std::int64_t> superseded;
  for (const auto& [id, contents] : contents_) {
    if (!in_plan_.contains(id)) superseded.insert(id);
  }
  return superseded;
}

}  // namespace limn
