#include "coordinator/batch_source.h"

#include <functional>
#include <string>
#include <vector>

#include <fmt/ranges.h>

#include "storage/error.h"

namespace limn {

namespace {

PlanOptions plan_options(const Job& job, const SweepCost& cost) {
  return {
      .suppression = job.explain.suppression,
      .batch_tokens = job.parallel.batch_tokens,
      .cost = cost};
}

}  // namespace

BatchSource::BatchSource(const Job& job, const SamplePreparer& preparer, const SweepCost& cost)
    : records_(job),
      preparer_(preparer),
      planner_(plan_options(job, cost)) {}

std::optional<PlannedBatch> BatchSource::next() {
  while (true) {
    if (auto batch = planner_.next()) return batch;
    if (at_end_) return std::nullopt;
    if (const auto record = records_.next()) {
      planner_.add(preparer_.prepare(*record));
    } else {
      planner_.finish();
      at_end_ = true;
    }
  }
}

namespace {

// More would be told by one cause, such as a wrong key in every record.
constexpr std::size_t kMostMistakes = 10;

// Remembers ids by their hashes alone, which keeps ten million in a few hundred megabytes. Two ids
// of one hash are told apart by reading the dataset again: hardly ever, for hashes have 64 bits.
class IdRegister {
 public:
  // Borrows: the job.
  explicit IdRegister(const Job& job) : job_(job) {}

  void add(const DatasetRecord& record) {
    if (!hashes_.insert(std::hash<std::string>{}(record.id)).second) refuse_if_used_before(record);
  }

 private:
  void refuse_if_used_before(const DatasetRecord& record) const {
    RecordSource earlier(job_);
    while (const auto other = next_readable(earlier)) {
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

  // Passes over records that cannot be read: they were reported when they were met first.
  static std::optional<DatasetRecord> next_readable(RecordSource& records) {
    while (true) {
      try {
        return records.next();
      } catch (const DataError&) {
        continue;
      }
    }
  }

  const Job& job_;
  std::unordered_set<std::size_t> hashes_;
};

// Calls `take_next` until it returns false. Goes on after a DataError, so that a person hears of
// many mistakes at once, and throws them all as one, a line each, at the end.
template <typename TakeNext>
void take_all(TakeNext&& take_next) {
  std::vector<std::string> mistakes;
  for (bool at_end = false; !at_end && mistakes.size() < kMostMistakes;) {
    try {
      at_end = !take_next();
    } catch (const DataError& mistake) {
      mistakes.emplace_back(mistake.what());
    }
  }
  if (!mistakes.empty()) throw DataError(fmt::format("{}", fmt::join(mistakes, "\n")));
}

void check_not_empty(const Job& job, std::int64_t num_samples) {
  if (num_samples > 0) return;
  throw DataError(fmt::format("{}: no records; nothing to explain", job.data.path.string()));
}

}  // namespace

DatasetSurvey survey_dataset(
    const Job& job,
    const SamplePreparer& preparer,
    const SweepCost& cost,
    const std::unordered_set<std::int64_t>& finished_batches) {
  DatasetSurvey survey;
  RecordSource records(job);
  IdRegister ids(job);
  BatchPlanner planner(plan_options(job, cost));
  const auto count_complete_batches = [&] {
    while (const auto batch = planner.next()) {
      ++survey.num_batches;
      survey.num_rows += batch->work.rows;
      if (!finished_batches.contains(batch->batch.id)) survey.remaining_rows += batch->work.rows;
    }
  };
  const auto add_next_record = [&] {
    const auto record = records.next();
    if (!record) return false;
    ids.add(*record);
    planner.add(preparer.prepare(*record));
    ++survey.num_samples;
    count_complete_batches();
    return true;
  };
  take_all(add_next_record);
  planner.finish();
  count_complete_batches();
  check_not_empty(job, survey.num_samples);
  return survey;
}

std::int64_t survey_prompts(const Job& job, const SamplePreparer& preparer) {
  RecordSource records(job);
  IdRegister ids(job);
  std::int64_t num_samples = 0;
  take_all([&] {
    const auto record = records.next();
    if (!record) return false;
    ids.add(*record);
    preparer.prepare_prompt(*record);
    ++num_samples;
    return true;
  });
  check_not_empty(job, num_samples);
  return num_samples;
}

}  // namespace limn
