#include "coordinator/batch_source.h"

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/ranges.h>

#include "coordinator/target_alternatives.h"
#include "storage/error.h"

namespace limn {

namespace {

PlanOptions plan_options(const Job& job, const SweepCost& cost) {
  return {
      .suppression = job.explain.suppression,
      .batch_tokens = job.parallel.batch_tokens,
      .cost = cost};
}

// A record with one target as the dataset's sample `index`.
Sample prepared(const SamplePreparer& preparer, const DatasetRecord& record, std::int64_t index) {
  Sample sample = preparer.prepare(record);
  sample.index = index;
  return sample;
}

}  // namespace

BatchSource::BatchSource(const Job& job, const SamplePreparer& preparer, const SweepCost& cost)
    : reader_(job.data),
      preparer_(preparer),
      planner_(plan_options(job, cost)) {}

std::optional<PlannedBatch> BatchSource::next() {
  while (true) {
    if (auto batch = planner_.next()) return batch;
    if (at_end_) return std::nullopt;
    if (const auto record = reader_.next()) {
      std::vector<Sample> samples;
      for (const DatasetRecord& one : single_target_records(*record))
        samples.push_back(prepared(preparer_, one, num_samples_++));
      planner_.add_alternatives(std::move(samples));
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
  explicit IdRegister(const DataOptions& options) : options_(options) {}

  void add(const DatasetRecord& record) {
    if (!hashes_.insert(std::hash<std::string>{}(record.id)).second) refuse_if_used_before(record);
  }

 private:
  void refuse_if_used_before(const DatasetRecord& record) const {
    DatasetReader earlier(options_);
    while (const auto other = next_readable(earlier)) {
      if (other->index >= record.index) return;
      for (const DatasetRecord& one : single_target_records(*other)) {
        if (one.id != record.id) continue;
        throw DataError(fmt::format(
            "{}: id must be unique, but {} has it, too; give each record its own: {}",
            record.where,
            one.where,
            one.id));
      }
    }
  }

  // Passes over records that cannot be read: they were reported when they were met first.
  static std::optional<DatasetRecord> next_readable(DatasetReader& reader) {
    while (true) {
      try {
        return reader.next();
      } catch (const DataError&) {
        continue;
      }
    }
  }

  DataOptions options_;
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

}  // namespace

DatasetSurvey survey_dataset(
    const Job& job,
    const SamplePreparer& preparer,
    const SweepCost& cost,
    const std::unordered_set<std::int64_t>& finished_batches) {
  DatasetSurvey survey;
  DatasetReader reader(job.data);
  IdRegister ids(job.data);
  BatchPlanner planner(plan_options(job, cost));
  const auto count_complete_batches = [&] {
    while (const auto batch = planner.next()) {
      ++survey.num_batches;
      survey.num_rows += batch->work.rows;
      if (!finished_batches.contains(batch->batch.id)) survey.remaining_rows += batch->work.rows;
    }
  };
  const auto add_next_record = [&] {
    const auto record = reader.next();
    if (!record) return false;
    std::vector<Sample> samples;
    for (const DatasetRecord& one : single_target_records(*record)) {
      ids.add(one);
      samples.push_back(prepared(preparer, one, survey.num_samples++));
      survey.num_without_token += samples.back().num_without_token;
    }
    planner.add_alternatives(std::move(samples));
    count_complete_batches();
    return true;
  };
  take_all(add_next_record);
  planner.finish();
  count_complete_batches();
  if (survey.num_samples == 0) {
    throw DataError(fmt::format("{}: no records; nothing to explain", job.data.path.string()));
  }
  return survey;
}

}  // namespace limn
