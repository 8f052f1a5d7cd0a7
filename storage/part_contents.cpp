#include "storage/part_contents.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <iterator>
#include <limits>
#include <optional>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "storage/error.h"
#include "storage/hdf5_column.h"
#include "storage/relevance_attributes.h"
#include "storage/relevance_format.h"

namespace limn {

namespace {

using Column = RelevanceColumn;

ColumnReader open_column(const Hdf5File& file, Column column) {
  return {file, kRelevanceColumns[static_cast<std::size_t>(column)]};
}

// Where the rows of each sample begin, and where those of the last one end.
std::vector<std::int64_t> read_offsets(
    const Hdf5File& file, Column offset, std::int64_t num_samples) {
  const ColumnReader column = open_column(file, offset);
  return column.read_offsets({0, num_samples}, std::numeric_limits<std::int64_t>::max());
}

// The texts of the samples that are not Ok, by a column of bytes.
void read_texts(
    const Hdf5File& file,
    RaggedColumns columns,
    std::string PartSample::*text,
    std::vector<PartSample>& samples) {
  std::optional<ColumnReader> utf8;
  std::vector<std::int64_t> offsets;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    if (samples[i].status == SampleStatus::Ok) continue;
    if (!utf8) {
      utf8 = open_column(file, columns.rows);
      offsets = read_offsets(file, columns.offset, std::ssize(samples));
    }
    const auto bytes = utf8->read<std::uint8_t>({offsets[i], offsets[i + 1]});
    (samples[i].*text).assign(bytes.begin(), bytes.end());
  }
}

// From the deltas themselves, of which one sample's are held at a time.
void count_measured_units(const Hdf5File& file, std::vector<PartSample>& samples) {
  const ColumnReader delta = open_column(file, Column::Delta);
  const auto offsets = read_offsets(file, Column::DeltaOffset, std::ssize(samples));
  for (std::size_t i = 0; i < samples.size(); ++i) {
    PartSample& sample = samples[i];
    const auto values = delta.read<float>({offsets[i], offsets[i + 1]});
    // A unit is measured wholly or not at all: its first target tells.
    const std::size_t num_targets =
        sample.num_units == 0 ? 0 : values.size() / static_cast<std::size_t>(sample.num_units);
    if (num_targets == 0) {
      sample.num_measured_units = sample.num_units;
      continue;
    }
    for (std::size_t at = 0; at < values.size(); at += num_targets) {
      if (!std::isnan(values[at])) ++sample.num_measured_units;
    }
  }
}

void read_part(const Hdf5File& file, PartContents& contents) {
  const auto index = ColumnReader(file, kPartSampleIndex).read_all<std::int64_t>();
  contents.batch_ids = ColumnReader(file, kPartBatchId).read_all<std::int64_t>();
  const bool knows_measured = file.has(kPartMeasuredUnits.path);
  std::vector<std::int32_t> measured(index.size());
  if (knows_measured) measured = ColumnReader(file, kPartMeasuredUnits).read_all<std::int32_t>();
  if (index.size() != contents.samples.size() || measured.size() != index.size()) {
    throw DataError(
        fmt::format("{}: group {} must have a row for each sample", file.name(), kPartGroup));
  }
  for (std::size_t i = 0; i < index.size(); ++i) {
    contents.samples[i].index = index[i];
    contents.samples[i].num_measured_units = measured[i];
  }
  if (!knows_measured) count_measured_units(file, contents.samples);
}

void read_samples(const Hdf5File& file, PartContents& contents) {
  const auto status = open_column(file, Column::SampleStatus).read_all<std::uint8_t>();
  const auto unit_offsets = read_offsets(file, Column::UnitOffset, std::ssize(status));
  for (std::size_t i = 0; i < status.size(); ++i) {
    if (status[i] > static_cast<std::uint8_t>(SampleStatus::Skipped))
      throw DataError(fmt::format("{}: samples/status must be 0, 1 or 2: {}", file.name(), i));
    PartSample sample;
    sample.index = static_cast<std::int64_t>(i);
    sample.status = static_cast<SampleStatus>(status[i]);
    sample.num_units = unit_offsets[i + 1] - unit_offsets[i];
    sample.num_measured_units = sample.num_units;
    contents.samples.push_back(std::move(sample));
  }
}

}  // namespace

std::vector<std::filesystem::path> list_part_files(const std::filesystem::path& run_folder) {
  std::vector<std::filesystem::path> paths;
  std::error_code code;
  std::filesystem::directory_iterator entry(run_folder / "parts", code);
  for (const std::filesystem::directory_iterator end; !code && entry != end;
       entry.increment(code)) {
    const std::string name = entry->path().filename().string();
    if (name.starts_with("part-") && name.ends_with(".h5")) paths.push_back(entry->path());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

PartContents read_part_contents(const std::filesystem::path& path) {
  const Hdf5File file = Hdf5File::open(path);
  PartContents contents;
  contents.is_complete = read_attributes(file).complete;
  read_samples(file, contents);
  read_texts(file, {Column::IdOffset, Column::IdUtf8}, &PartSample::id, contents.samples);
  read_texts(
      file, {Column::MessageOffset, Column::MessageUtf8}, &PartSample::message, contents.samples);
  if (file.has(kPartGroup)) read_part(file, contents);
  return contents;
}

}  // namespace limn
