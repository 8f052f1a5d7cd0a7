#include "coordinator/record_source.h"

#include <utility>

namespace limn {

bool generates_targets(const Job& job) {
  return job.explain.target == "generate";
}

RecordSource::RecordSource(const Job& job)
    : reader_(job.data, generates_targets(job) ? TargetKeys::Optional : TargetKeys::Required) {
  if (generates_targets(job)) targets_.emplace(generated_targets_path(job.output.path));
}

std::optional<DatasetRecord> RecordSource::next() {
  auto record = reader_.next();
  if (record && targets_) add_generated_target(*record);
  return record;
}

void RecordSource::add_generated_target(DatasetRecord& record) {
  record.target.reset();
  record.target_ids.reset();
  // Both are in the dataset's order.
  while (!line_ || line_->sample_index < record.index) {
    line_ = targets_->next();
    if (!line_) return;
  }
  if (line_->sample_index == record.index) record.target_ids = std::move(line_->target_ids);
}

}  // namespace limn
