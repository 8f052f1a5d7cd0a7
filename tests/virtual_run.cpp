#include "tests/virtual_run.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <numeric>
#include <random>
#include <utility>

#include "coordinator/protocol.h"

namespace limn::test {

namespace {

constexpr std::int64_t kNumTargets = 8;

void add_unit(Sample& sample, std::int64_t token_begin, std::int64_t token_end) {
  UnitRecord unit;
  for (std::int64_t token = token_begin; token < token_end; ++token)
    unit.tokens.push_back(static_cast<std::int32_t>(token));
  sample.record.units.push_back(std::move(unit));
}

void add_sentences(Sample& sample, std::mt19937_64& random) {
  std::uniform_int_distribution<std::int64_t> length(8, 40);
  for (std::int64_t begin = 0; begin < sample.prompt_length;) {
    const std::int64_t end = std::min(begin + length(random), sample.prompt_length);
    add_unit(sample, begin, end);
    begin = end;
  }
}

void add_tokens(Sample& sample) {
  for (std::int64_t token = 0; token < sample.prompt_length; ++token)
    add_unit(sample, token, token + 1);
}

Sample virtual_sample(
    std::int64_t index,
    VirtualUnits units,
    const VirtualLengths& lengths,
    std::mt19937_64& random) {
  std::lognormal_distribution<double> drawn(std::log(lengths.median), lengths.sigma);
  const auto length = static_cast<std::int64_t>(std::clamp(drawn(random), 50.0, 2000.0));
  Sample sample;
  sample.index = index;
  sample.prompt_length = length - kNumTargets;
  sample.record.tokens.resize(static_cast<std::size_t>(length));
  sample.record.targets.resize(static_cast<std::size_t>(kNumTargets));
  const bool has_sentences =
      units == VirtualUnits::Sentences || (units == VirtualUnits::Mixed && index % 2 == 0);
  if (has_sentences) {
    add_sentences(sample, random);
  } else {
    add_tokens(sample);
  }
  return sample;
}

}  // namespace

std::vector<Sample> virtual_samples(
    std::int64_t num_samples, VirtualUnits units, const VirtualLengths& lengths) {
  std::mt19937_64 random(1987);
  std::vector<Sample> samples;
  for (std::int64_t index = 0; index < num_samples; ++index)
    samples.push_back(virtual_sample(index, units, lengths, random));
  return samples;
}

SweepWork plan_one_by_one(
    const VirtualDataset& dataset,
    const PlanOptions& options,
    const std::function<void(const PlannedBatch&)>& take) {
  std::mt19937_64 random(1987);
  SweepWork uncut;
  BatchPlanner planner(options);
  const auto take_complete = [&] {
    while (const auto planned = planner.next())
      take(*planned);
  };
  for (std::int64_t index = 0; index < dataset.num_samples; ++index) {
    Sample sample = virtual_sample(index, dataset.units, dataset.lengths, random);
    uncut += uncut_work({sample});
    planner.add(std::move(sample));
    take_complete();
  }
  planner.finish();
  take_complete();
  return uncut;
}

std::vector<PlannedBatch> plan(const std::vector<Sample>& samples, const PlanOptions& options) {
  std::vector<PlannedBatch> batches;
  BatchPlanner planner(options);
  const auto take = [&] {
    while (auto planned = planner.next())
      batches.push_back(*std::move(planned));
  };
  for (const Sample& sample : samples) {
    planner.add(sample);
    take();
  }
  planner.finish();
  take();
  return batches;
}

std::vector<PlannedBatch> plan_far_from_the_end(
    const std::vector<Sample>& samples, const PlanOptions& options) {
  std::vector<Sample> more = samples;
  for (std::int64_t rows = 0; rows < 100 * options.batch_tokens;) {
    rows += uncut_work(samples).rows;
    for (Sample sample : samples) {
      sample.index = std::ssize(more);
      more.push_back(std::move(sample));
    }
  }
  std::vector<PlannedBatch> batches;
  for (PlannedBatch& planned : plan(more, options)) {
    std::erase_if(planned.batch.pieces, [&](const BatchPiece& piece) {
      return piece.sample_index >= std::ssize(samples);
    });
    if (planned.batch.pieces.empty()) break;
    planned.work = work_of(planned.batch);
    planned.samples.resize(planned.batch.pieces.size());
    batches.push_back(std::move(planned));
  }
  return batches;
}

SweepWork work_of(const Batch& batch) {
  SweepWork work;
  for (const BatchPiece& piece : batch.pieces) {
    work += work_of_rows(0, piece.fed_length());
    for (const Perturbation& perturbation : piece.perturbations)
      work += work_of_rows(perturbation.positions.front(), piece.fed_length());
  }
  return work;
}

SweepWork uncut_work(const std::vector<Sample>& samples) {
  SweepWork work;
  for (const Sample& sample : samples) {
    work += work_of_rows(0, sample.fed_length());
    for (const UnitRecord& unit : sample.record.units)
      work += work_of_rows(unit.tokens.front(), sample.fed_length());
  }
  return work;
}

namespace {

class VirtualGroup {
 public:
  bool has_work() const { return !held_s_.empty(); }

  // Of the batch that it computes.
  double end_s() const { return end_s_; }

  void take(double batch_s, double now_s) {
    if (held_s_.empty()) end_s_ = now_s + batch_s;
    held_s_.push_back(batch_s);
  }

  void end_batch() {
    held_s_.pop_front();
    if (has_work()) end_s_ += held_s_.front();
  }

 private:
  std::deque<double> held_s_;  // the computed one first
  double end_s_ = 0;
};

// The group that ends its batch next; null when none has any.
VirtualGroup* first_to_end(std::vector<VirtualGroup>& groups) {
  VirtualGroup* first = nullptr;
  for (VirtualGroup& group : groups) {
    if (!group.has_work()) continue;
    if (first == nullptr || group.end_s() < first->end_s()) first = &group;
  }
  return first;
}

}  // namespace

double idle_share(const std::vector<double>& batch_s, int num_groups) {
  std::vector<VirtualGroup> groups(static_cast<std::size_t>(num_groups));
  auto next_s = batch_s.begin();
  for (int round = 0; round < kBatchesHeld; ++round) {
    for (VirtualGroup& group : groups) {
      if (next_s != batch_s.end()) group.take(*next_s++, 0);
    }
  }
  double now_s = 0;
  while (VirtualGroup* const group = first_to_end(groups)) {
    now_s = group->end_s();
    group->end_batch();
    if (next_s != batch_s.end()) group->take(*next_s++, now_s);
  }
  const double busy_s = std::accumulate(batch_s.begin(), batch_s.end(), 0.0);
  return 1 - busy_s / (now_s * num_groups);
}

}  // namespace limn::test
