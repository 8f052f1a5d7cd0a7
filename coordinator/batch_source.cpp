#include "coordinator/batch_source.h"

#include <functional>
#include <string>

#include "storage/error.h"

namespace limn {

BatchSource::BatchSource(const Job& job, const SamplePreparer& preparer)
    : reader_(job.data),
      preparer_(preparer),
      planner_(job.explain.suppression, job.parallel.batch_tokens) {}

std::optional<PlannedBatch> BatchSource::next() {
  while (true) {
    if (auto batch = planner_.next()) return batch;
    if (at_end_) return std::nullopt;
    if (const auto record = reader_.next()) {
      planner_.add(preparer_.prepare(*record));
    } else {
      planner_.finish();
      at_end_ = true;
    }
  }
}

namespace {

// Remembers ids by their hashes. Two ids of one hash are told apart by reading the dataset again,
// which happens once in a while and keeps ten million ids in a few hundred megabytes.
class IdRegister {
 public:
  explicit IdRegister(const DataOptions& options) : options_(options) {}

  void add(const DatasetRecord& record) {
    if (!hashes_.insert(std::hash<std::string>{}(record.id)).second) refuse_if_used_before(record);
  }

 private:
  void refuse_if_used_before(const DatasetRecord& record) const {
    DatasetReader earlier(options_);
    while (const auto other = earlier.next()) {
      if (other->index >= record.index) return;
      if (other->id == record.id) {
        throw DataError(fmt::format(
            "{}: id must be unique, but {} has it, too; give each record its own: {}",
            record.where,
            other->where,
            record.id));
      }
    }
  }

  DataOptions options_;
  std::unordered_set<std::size_t> hashes_;
};

}  // namespace

DatasetSurvey survey_dataset(
    const Job& job,
    const SamplePreparer& preparer,
    const std::unordered_set<std::int64_t>& finished_batches) {
  DatasetSurvey survey;
  DatasetReader reader(job.data);
  IdRegister ids(job.data);
  BatchPlanner planner(job.explain.suppression, job.parallel.batch_tokens);
  const auto count_complete_batches = [&] {
    while (const auto batch = planner.next()) {
      ++survey.num_batches;
      survey.num_rows += batch->rows;
      if (!finished_batches.contains(batch->batch.id)) survey.remaining_rows += batch->rows;
    }
  };
  while (const auto record = reader.next()) {
    ids.add(*record);
    planner.add(preparer.prepare(*record));
    ++survey.num_samples;
    count_complete_batches();
  }
  planner.finish();
  count_complete_batches();
  if (survey.num_samples == 0) {
    throw DataError(fmt::format("{}: no records; nothing to explain", job.data.path.string()));
  }
  return survey;
}

}  // namespace limn
