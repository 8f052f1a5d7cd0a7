#include "coordinator/batch_source.h"

#include <algorithm>
#include <deque>
#include <functional>
#include <iterator>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <fmt/ranges.h>

#include "coordinator/dataset.h"
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

}  // namespace

BatchSource::BatchSource(
    const Job& job, const SamplePreparer& preparer, const SweepCost& cost, int num_threads)
    : samples_(job, preparer, target_source(job), num_threads),
      planner_(plan_options(job, cost)) {}

std::optional<PlannedBatch> BatchSource::next() {
  while (true) {
    if (auto batch = planner_.next()) return batch;
    if (at_end_) return std::nullopt;
    std::vector<Sample> samples = samples_.next();
    if (!samples.empty()) {
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

// Remembers ids by their hashes alone: 8 bytes each, and never more at once, as in a vector that
// grows. Two ids of one hash are told apart by reading the dataset again: hardly ever, for hashes
// have 64 bits.
class IdRegister {
 public:
  void add(const std::string& id) { hashes_.push_back(std::hash<std::string>{}(id)); }

  // A line for each of the first `most` records whose id an earlier one has, too.
  std::vector<std::string> repetitions(const Job& job, std::size_t most) {
    const std::vector<std::size_t> suspects = repeated_hashes();
    std::vector<std::string> lines;
    if (suspects.empty() || most == 0) return lines;
    std::unordered_map<std::string, std::string> places;  // of the ids of these hashes
    const bool has_alternatives = target_source(job) == TargetSource::Dataset;
    DatasetReader reader(job.data, has_alternatives ? TargetKeys::Required : TargetKeys::Optional);
    while (const auto entry = next_entry(reader)) {
      if (!is_taken(job.data, reader.id_of(*entry))) continue;
      const std::vector<std::string> ids = has_alternatives
                                               ? sample_ids_of(reader, *entry)
                                               : std::vector<std::string>{reader.id_of(*entry)};
      for (const std::string& id : ids) {
        if (!std::ranges::binary_search(suspects, std::hash<std::string>{}(id))) continue;
        const auto [earlier, is_new] = places.try_emplace(id, entry->where);
        if (is_new) continue;
        lines.push_back(fmt::format(
            "{}: id must be unique, but {} has it, too; give each record its own: {}",
            entry->where,
            earlier->second,
            id));
        if (lines.size() == most) return lines;
      }
    }
    return lines;
  }

 private:
  // Ascending.
  std::vector<std::size_t> repeated_hashes() {
    // If all are, that is no reason to hold them in memory a second time.
    constexpr std::size_t kMost = 1000;
    std::ranges::sort(hashes_);
    std::vector<std::size_t> repeated;
    for (std::size_t i = 1; i < hashes_.size() && repeated.size() < kMost; ++i) {
      const bool is_new = repeated.empty() || repeated.back() != hashes_[i];
      if (hashes_[i] == hashes_[i - 1] && is_new) repeated.push_back(hashes_[i]);
    }
    return repeated;
  }

  // Of the samples that a record becomes.
  static std::vector<std::string> sample_ids_of(
      const DatasetReader& reader, const DatasetEntry& entry) {
    std::vector<std::string> ids;
    try {
      for (const DatasetRecord& record : single_target_records(reader.record_of(entry)))
        ids.push_back(record.id);
    } catch (const DataError&) {
      ids = {reader.id_of(entry)};
    }
    return ids;
  }

  static bool is_taken(const DataOptions& options, const std::string& id) {
    return options.sample_ids.empty() ||
           std::ranges::find(options.sample_ids, id) != options.sample_ids.end();
  }

  // What cannot be read was reported when it was met first, and is the end.
  static std::optional<DatasetEntry> next_entry(DatasetReader& reader) {
    try {
      return reader.next_entry();
    } catch (const DataError&) {
      return std::nullopt;
    }
  }

  std::deque<std::size_t> hashes_;
};

// Calls `take_next` until it returns false. Goes on after a DataError, so that a person hears of
// many mistakes at once.
template <typename TakeNext>
std::vector<std::string> mistakes_of(TakeNext&& take_next) {
  std::vector<std::string> mistakes;
  for (bool at_end = false; !at_end && mistakes.size() < kMostMistakes;) {
    try {
      at_end = !take_next();
    } catch (const DataError& mistake) {
      mistakes.emplace_back(mistake.what());
    }
  }
  return mistakes;
}

std::string text_of_no_records(const DataOptions& data) {
  return data.skip > 0 ? fmt::format(
                             "{}: no records behind the first {}; lower data.skip",
                             data.path.string(),
                             data.skip)
                       : fmt::format("{}: no records; nothing to explain", data.path.string());
}

// Reads all samples, counts them in `survey` and gives those of each record to `take`. Throws
// DataError naming all that is wrong with the dataset, a line for each, of the first ten.
template <typename Take>
void read_dataset(const Job& job, SampleStream& samples, DatasetSurvey& survey, const Take& take) {
  IdRegister ids;
  const auto take_next_sample = [&] {
    std::vector<Sample> of_record = samples.next();
    if (of_record.empty()) return false;
    for (const Sample& sample : of_record) {
      ids.add(sample.record.id);
      ++survey.num_samples;
      if (sample.record.status == SampleStatus::Skipped) {
        if (survey.num_skipped++ == 0) survey.first_skipped = sample.record.message;
      }
    }
    take(std::move(of_record));
    return true;
  };
  std::vector<std::string> mistakes = mistakes_of(take_next_sample);
  const bool read_to_the_end = mistakes.size() < kMostMistakes;
  std::ranges::move(
      ids.repetitions(job, kMostMistakes - mistakes.size()), std::back_inserter(mistakes));
  if (read_to_the_end) {
    for (const std::string& id : samples.missing_ids()) {
      if (mistakes.size() == kMostMistakes) break;
      mistakes.push_back(fmt::format(
          "{}: no record has this id; check data.sample_ids: {}", job.data.path.string(), id));
    }
  }
  if (!mistakes.empty()) throw DataError(fmt::format("{}", fmt::join(mistakes, "\n")));
  if (survey.num_samples == 0) throw DataError(text_of_no_records(job.data));
}

}  // namespace

DatasetSurvey survey_dataset(
    const Job& job,
    const SamplePreparer& preparer,
    const SweepCost& cost,
    const std::function<bool(const PlannedBatch& planned)>& is_finished,
    int num_threads) {
  DatasetSurvey survey;
  SampleStream samples(job, preparer, target_source(job), num_threads);
  BatchPlanner planner(plan_options(job, cost));
  const auto count_complete_batches = [&] {
    while (const auto batch = planner.next()) {
      ++survey.num_batches;
      survey.num_rows += batch->work.rows;
      if (!is_finished || !is_finished(*batch)) survey.remaining_rows += batch->work.rows;
    }
  };
  read_dataset(job, samples, survey, [&](std::vector<Sample> of_record) {
    for (const Sample& sample : of_record)
      survey.num_without_token += sample.num_without_token;
    planner.add_alternatives(std::move(of_record));
    count_complete_batches();
  });
  planner.finish();
  count_complete_batches();
  return survey;
}

DatasetSurvey survey_prompts(const Job& job, const SamplePreparer& preparer, int num_threads) {
  DatasetSurvey survey;
  SampleStream samples(job, preparer, TargetSource::Nowhere, num_threads);
  read_dataset(job, samples, survey, [](const std::vector<Sample>&) {});
  return survey;
}

}  // namespace limn
