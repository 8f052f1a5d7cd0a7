#include "storage/merge_parts.h"

#include <algorithm>
#include <cmath>
#include <list>
#include <span>
#include <utility>

namespace limn {

namespace {

// Readers of the parts used last: a long run has more parts than a process may have open files.
class PartReaders {
 public:
  explicit PartReaders(std::vector<std::filesystem::path> paths) : paths_(std::move(paths)) {}

  std::size_t num_parts() const { return paths_.size(); }

  const std::filesystem::path& path(std::size_t part) const { return paths_[part]; }

  const RelevanceReader& reader(std::size_t part) {
    const auto found = std::find_if(
        open_.begin(), open_.end(), [&](const OpenReader& open) { return open.part == part; });
    if (found != open_.end()) {
      open_.splice(open_.begin(), open_, found);
    } else {
      if (open_.size() == kMaxOpen) open_.pop_back();
      open_.push_front({part, RelevanceReader(paths_[part])});
    }
    return open_.front().reader;
  }

 private:
  struct OpenReader {
    std::size_t part;
    RelevanceReader reader;
  };

  // A reader holds some megabytes of decompressed chunks.
  static constexpr std::size_t kMaxOpen = 16;

  std::vector<std::filesystem::path> paths_;
  std::list<OpenReader> open_;  // the one used last comes first
};

// Where a part holds a sample.
struct PartRow {
  std::int64_t sample;
  std::size_t part;
  std::int64_t row;
};

// Everything that the parts hold, in dataset order and, within a sample, in the order of the parts.
std::vector<PartRow> index_parts(PartReaders& parts) {
  std::vector<PartRow> rows;
  for (std::size_t part = 0; part < parts.num_parts(); ++part) {
    const std::vector<std::int64_t> samples =
        read_part(parts.path(part), [&] { return parts.reader(part).part_sample_index(); });
    for (std::size_t row = 0; row < samples.size(); ++row) {
      rows.push_back({samples[row], part, static_cast<std::int64_t>(row)});
    }
  }
  std::sort(rows.begin(), rows.end(), [](const PartRow& left, const PartRow& right) {
    return std::pair(left.sample, left.part) < std::pair(right.sample, right.part);
  });
  return rows;
}

bool is_missing(std::span<const float> values) {
  return std::all_of(values.begin(), values.end(), [](float value) { return std::isnan(value); });
}

// The deltas of one unit.
template <typename Record>
auto delta_row(Record& record, std::size_t unit) {
  const std::size_t num_targets = record.targets.size();
  return std::span(record.delta).subspan(unit * num_targets, num_targets);
}

// Adds to `merged` what another part holds of the same sample: a row of deltas is computed wholly
// or not at all.
void merge_record(SampleRecord& merged, const SampleRecord& other) {
  const bool same_shape = other.id == merged.id && other.tokens == merged.tokens &&
                          other.units == merged.units &&
                          other.targets.size() == merged.targets.size();
  check(same_shape, "the parts do not agree on sample {}", merged.id);
  for (std::size_t target = 0; target < merged.targets.size(); ++target) {
    float& log_prob = merged.targets[target].log_prob;
    if (std::isnan(log_prob)) log_prob = other.targets[target].log_prob;
  }
  for (std::size_t unit = 0; unit < merged.units.size(); ++unit) {
    const std::span<float> row = delta_row(merged, unit);
    const std::span<const float> other_row = delta_row(other, unit);
    if (is_missing(row)) std::copy(other_row.begin(), other_row.end(), row.begin());
  }
  if (merged.status == SampleStatus::Ok) {
    merged.status = other.status;
    merged.message = other.message;
  }
}

void check_complete(const SampleRecord& record) {
  if (record.status != SampleStatus::Ok) return;
  for (const TargetRecord& target : record.targets) {
    check(!std::isnan(target.log_prob), "no part holds a log_prob of sample {}", record.id);
  }
  for (std::size_t unit = 0; unit < record.units.size(); ++unit) {
    check(
        record.targets.empty() || !is_missing(delta_row(record, unit)),
        "no part holds unit {} of sample {}",
        unit,
        record.id);
  }
}

// One sample from all the parts that hold something of it.
SampleRecord merge_sample(PartReaders& parts, std::span<const PartRow> rows) {
  const auto read = [&](const PartRow& row) {
    return read_part(parts.path(row.part), [&] { return parts.reader(row.part).read(row.row); });
  };
  SampleRecord merged = read(rows.front());
  for (const PartRow& row : rows.subspan(1))
    merge_record(merged, read(row));
  check_complete(merged);
  return merged;
}

}  // namespace

void merge_parts(
    const std::vector<std::filesystem::path>& parts,
    std::int64_t num_samples,
    RelevanceWriter& writer) {
  PartReaders readers(parts);
  const std::vector<PartRow> rows = index_parts(readers);
  auto row = rows.begin();
  for (std::int64_t sample = 0; sample < num_samples; ++sample) {
    const auto sample_end =
        std::find_if(row, rows.end(), [&](const PartRow& other) { return other.sample != sample; });
    check(row != sample_end, "no part holds sample {}", sample);
    writer.append(merge_sample(readers, {row, sample_end}));
    row = sample_end;
  }
  check(row == rows.end(), "the parts hold more than the {} samples of the dataset", num_samples);
}

}  // namespace limn
