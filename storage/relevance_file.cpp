#include "storage/relevance_file.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "storage/durable_file.h"
#include "storage/error.h"
#include "storage/hdf5_column.h"
#include "storage/hdf5_handle.h"
#include "storage/relevance_attributes.h"
#include "storage/relevance_format.h"

namespace limn {

namespace {

using Column = RelevanceColumn;

std::span<const std::uint8_t> utf8_bytes(const std::string& text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

std::string text_of(const std::vector<std::uint8_t>& bytes) {
  return {bytes.begin(), bytes.end()};
}

bool ascends(std::span<const std::int64_t> values) {
  return std::adjacent_find(values.begin(), values.end(), std::greater_equal<>()) == values.end();
}

// A unit is measured wholly or not at all: its first target tells.
std::int32_t num_measured_units(const SampleRecord& sample) {
  const std::size_t num_targets = sample.targets.size();
  std::int32_t measured = 0;
  for (std::size_t unit = 0; unit < sample.units.size(); ++unit) {
    if (num_targets == 0 || !std::isnan(sample.delta[unit * num_targets])) ++measured;
  }
  return measured;
}

}  // namespace

class RelevanceWriter::Impl {
 public:
  Impl(const std::filesystem::path& path, const RelevanceAttributes& attributes)
      : path_(path),
        attributes_(attributes),
        file_(Hdf5File::create(path)) {
    for (const char* group : kRelevanceGroups)
      file_.create_group(group);
    ids_.emplace(file_, kSampleId);
    messages_.emplace(file_, kSampleMessage);
    for (const ColumnFormat& format : kRelevanceColumns)
      columns_.emplace_back(file_, format);
    for (const RaggedColumns& ragged : kRaggedColumns)
      append_offset(ragged.offset, 0);
    append_offset(Column::UnitTokenOffset, 0);
  }

  void append(const SampleRecord& sample) {
    check(
        sample.delta.size() == sample.units.size() * sample.targets.size(),
        "sample {}: {} deltas for {} units and {} targets",
        sample.id,
        sample.delta.size(),
        sample.units.size(),
        sample.targets.size());
    append_texts(sample);
    for (const TokenRecord& token : sample.tokens)
      append_token(token);
    for (const UnitRecord& unit : sample.units)
      append_unit(unit);
    for (const TargetRecord& target : sample.targets)
      append_target(target);
    column(Column::Delta).append(std::span(sample.delta));
    measured_units_.push_back(num_measured_units(sample));
    for (const EvidenceRecord& evidence : sample.evidence)
      append_evidence(evidence);
    for (const RaggedColumns& ragged : kRaggedColumns) {
      append_offset(ragged.offset, column(ragged.rows).rows());
    }
  }

  void write_part_contents(
      std::span<const std::int64_t> sample_index, std::span<const PartBatch> batches) {
    check(
        static_cast<std::int64_t>(sample_index.size()) == ids_->rows(),
        "{} sample indices for {} samples",
        sample_index.size(),
        ids_->rows());
    check(ascends(sample_index), "the samples of a part must ascend");
    file_.create_group(kPartGroup);
    columns_.emplace_back(file_, kPartSampleIndex).append(sample_index);
    columns_.emplace_back(file_, kPartMeasuredUnits)
        .append(std::span<const std::int32_t>(measured_units_));
    std::vector<std::int64_t> ids;
    std::vector<std::int64_t> contents;
    for (const PartBatch& batch : batches) {
      ids.push_back(batch.id);
      contents.push_back(batch.contents);
    }
    columns_.emplace_back(file_, kPartBatchId).append(std::span<const std::int64_t>(ids));
    columns_.emplace_back(file_, kPartBatchContents)
        .append(std::span<const std::int64_t>(contents));
  }

  void close() {
    ids_->flush();
    messages_->flush();
    for (ColumnWriter& column : columns_)
      column.flush();
    write_scales();
    // Last, for they make it a relevance file.
    write_attributes(file_, attributes_);
    file_.flush();
    ids_.reset();
    messages_.reset();
    columns_.clear();
    file_.close();
    sync_file(path_);
  }

 private:
  ColumnWriter& column(Column column) { return columns_[static_cast<std::size_t>(column)]; }

  void append_offset(Column offset, std::int64_t row) { column(offset).append(row); }

  void append_texts(const SampleRecord& sample) {
    ids_->append(sample.id);
    messages_->append(sample.message);
    column(Column::SampleStatus).append(static_cast<std::uint8_t>(sample.status));
    column(Column::IdUtf8).append(utf8_bytes(sample.id));
    column(Column::MessageUtf8).append(utf8_bytes(sample.message));
    column(Column::TextUtf8).append(utf8_bytes(sample.text));
  }

  void append_token(const TokenRecord& token) {
    column(Column::TokenId).append(token.id);
    column(Column::TokenCharStart).append(token.chars.begin);
    column(Column::TokenCharEnd).append(token.chars.end);
  }

  void append_unit(const UnitRecord& unit) {
    column(Column::UnitCharStart).append(unit.chars.begin);
    column(Column::UnitCharEnd).append(unit.chars.end);
    append_box(Column::UnitBox, unit.box);
    column(Column::UnitToken).append(std::span(unit.tokens));
    append_offset(Column::UnitTokenOffset, column(Column::UnitToken).rows());
  }

  void append_target(const TargetRecord& target) {
    column(Column::TargetPosition).append(target.position);
    column(Column::TargetToken).append(target.token);
    column(Column::TargetLogProb).append(target.log_prob);
  }

  void append_evidence(const EvidenceRecord& evidence) {
    column(Column::EvidenceCharStart).append(evidence.chars.begin);
    column(Column::EvidenceCharEnd).append(evidence.chars.end);
    append_box(Column::EvidenceBox, evidence.box);
  }

  void append_box(Column boxes, const PixelBox& box) {
    const std::array<std::int32_t, kCorners.size()> corners = {box.x0, box.y0, box.x1, box.y1};
    column(boxes).append(std::span<const std::int32_t>(corners));
  }

  void write_scales() {
    file_.create_text_dataset(kCornerDimension, kCorners);
    std::map<std::string, std::int64_t> lengths;
    std::vector<ScaledDataset> datasets;
    const auto add = [&](auto& column) {
      const ColumnFormat& format = column.format();
      lengths.emplace(format.dimension, column.rows());
      std::vector<std::string> dimensions = {format.dimension};
      if (format.width > 1) dimensions.push_back(kCornerDimension);
      datasets.push_back({&column.dataset(), format.path, std::move(dimensions)});
    };
    add(*ids_);
    add(*messages_);
    for (ColumnWriter& column : columns_)
      add(column);
    write_dimension_scales(file_, lengths, datasets);
  }

  std::filesystem::path path_;
  RelevanceAttributes attributes_;
  Hdf5File file_;
  // Optional, so that close() can close them before the file.
  std::optional<TextColumnWriter> ids_;
  std::optional<TextColumnWriter> messages_;
  std::vector<ColumnWriter> columns_;  // kRelevanceColumns, then those of a part
  std::vector<std::int32_t> measured_units_;
};

RelevanceWriter::RelevanceWriter(
    const std::filesystem::path& path, const RelevanceAttributes& attributes)
    : impl_(std::make_unique<Impl>(path, attributes)) {}

RelevanceWriter::~RelevanceWriter() = default;
RelevanceWriter::RelevanceWriter(RelevanceWriter&&) noexcept = default;
RelevanceWriter& RelevanceWriter::operator=(RelevanceWriter&&) noexcept = default;

void RelevanceWriter::append(const SampleRecord& sample) {
  impl_->append(sample);
}

void RelevanceWriter::write_part_contents(
    std::span<const std::int64_t> sample_index, std::span<const PartBatch> batches) {
  impl_->write_part_contents(sample_index, batches);
}

void RelevanceWriter::close() {
  impl_->close();
}

class RelevanceReader::Impl {
 public:
  explicit Impl(const std::filesystem::path& path)
      : file_(Hdf5File::open(path)),
        attributes_(read_attributes(file_)) {
    open_columns();
    check_lengths();
    if (file_.has(kPartGroup)) {
      part_sample_index_ = ColumnReader(file_, kPartSampleIndex).read_all<std::int64_t>();
      read_part_batches();
      check_part();
    }
  }

  const RelevanceAttributes& attributes() const { return attributes_; }

  std::int64_t num_samples() const { return column(Column::SampleStatus).rows(); }

  const std::vector<std::int64_t>& part_sample_index() const { return part_sample_index_; }

  const std::vector<PartBatch>& part_batches() const { return part_batches_; }

  std::vector<std::string> sample_ids() const {
    std::vector<std::string> ids;
    for (std::int64_t sample = 0; sample < num_samples(); ++sample)
      ids.push_back(read_id(sample));
    return ids;
  }

  SampleRecord read(std::int64_t sample) const {
    check(sample >= 0 && sample < num_samples(), "no such sample: {}", sample);
    SampleRecord record;
    record.status = read_status(sample);
    record.id = read_id(sample);
    record.message = read_message(sample);
    record.text = read_text(Column::TextOffset, Column::TextUtf8, sample);
    record.tokens = read_tokens(sample);
    record.units = read_units(sample);
    record.targets = read_targets(sample);
    record.delta =
        column(Column::Delta).read<float>(read_rows(Column::DeltaOffset, Column::Delta, sample));
    if (has(Column::EvidenceOffset)) record.evidence = read_evidence(sample);
    check_record(record, sample);
    return record;
  }

 private:
  // How long a dimension is, by its first column.
  struct Length {
    const char* path;
    std::int64_t rows;
  };

  using Lengths = std::map<std::string_view, Length>;

  bool has(Column column) const { return columns_[static_cast<std::size_t>(column)].has_value(); }

  const ColumnReader& column(Column column) const {
    check(has(column), "the file lacks column {}", static_cast<std::size_t>(column));
    return *columns_[static_cast<std::size_t>(column)];
  }

  void open_columns() {
    std::array<bool, kRelevanceColumns.size()> is_absent = {};
    for (const OptionalColumns& optional : kOptionalColumns) {
      if (file_.has(optional.path)) continue;
      const auto first = is_absent.begin() + static_cast<std::ptrdiff_t>(optional.first);
      const auto last = is_absent.begin() + static_cast<std::ptrdiff_t>(optional.last);
      std::fill(first, last + 1, true);
    }
    for (std::size_t i = 0; i < kRelevanceColumns.size(); ++i) {
      columns_.emplace_back();
      if (!is_absent[i]) columns_.back().emplace(file_, kRelevanceColumns[i]);
    }
    if (!has(Column::IdOffset)) ids_.emplace(file_, kSampleId);
    if (!has(Column::MessageOffset)) messages_.emplace(file_, kSampleMessage);
  }

  // Columns of one dimension have one length.
  void check_lengths() const {
    Lengths lengths;
    for (std::size_t i = 0; i < kRelevanceColumns.size(); ++i) {
      if (columns_[i]) check_length(lengths, kRelevanceColumns[i], columns_[i]->rows());
    }
    if (ids_) check_length(lengths, kSampleId, ids_->rows());
    if (messages_) check_length(lengths, kSampleMessage, messages_->rows());
    check_bounds(lengths, kSampleDimension, kSampleBoundDimension);
    check_bounds(lengths, kUnitDimension, kUnitBoundDimension);
  }

  void check_length(Lengths& lengths, const ColumnFormat& format, std::int64_t rows) const {
    const Length length = {format.path, rows};
    const Length known = lengths.emplace(format.dimension, length).first->second;
    if (known.rows != rows) {
      throw DataError(fmt::format(
          "{}: {} must have as many rows as {}: {} and {}",
          file_.name(),
          format.path,
          known.path,
          rows,
          known.rows));
    }
  }

  // Offsets have one row more than there are ranges.
  void check_bounds(
      const Lengths& lengths, std::string_view dimension, std::string_view bound_dimension) const {
    const Length& ranges = lengths.at(dimension);
    const Length& bounds = lengths.at(bound_dimension);
    if (bounds.rows != ranges.rows + 1) {
      throw DataError(fmt::format(
          "{}: {} must have one row more than {}: {} and {}",
          file_.name(),
          bounds.path,
          ranges.path,
          bounds.rows,
          ranges.rows));
    }
  }

  void read_part_batches() {
    const auto ids = ColumnReader(file_, kPartBatchId).read_all<std::int64_t>();
    // Parts of earlier releases do not say.
    std::vector<std::int64_t> contents(ids.size());
    if (file_.has(kPartBatchContents.path))
      contents = ColumnReader(file_, kPartBatchContents).read_all<std::int64_t>();
    if (contents.size() != ids.size()) {
      throw DataError(fmt::format(
          "{}: {} must have a row for each batch", file_.name(), kPartBatchContents.path));
    }
    for (std::size_t i = 0; i < ids.size(); ++i)
      part_batches_.push_back({.id = ids[i], .contents = contents[i]});
  }

  void check_part() const {
    const bool starts_at_zero = part_sample_index_.empty() || part_sample_index_.front() >= 0;
    if (!ascends(part_sample_index_) || !starts_at_zero ||
        static_cast<std::int64_t>(part_sample_index_.size()) != num_samples()) {
      throw DataError(fmt::format(
          "{}: {} must ascend, one for each sample", file_.name(), kPartSampleIndex.path));
    }
  }

  RowRange read_rows(Column offset, Column rows, std::int64_t index) const {
    const auto offsets = column(offset).read_offsets({index, index + 1}, column(rows).rows());
    return {offsets[0], offsets[1]};
  }

  std::string read_text(Column offset, Column utf8, std::int64_t sample) const {
    return text_of(column(utf8).read<std::uint8_t>(read_rows(offset, utf8, sample)));
  }

  std::string read_id(std::int64_t sample) const {
    return ids_ ? ids_->read(sample) : read_text(Column::IdOffset, Column::IdUtf8, sample);
  }

  std::string read_message(std::int64_t sample) const {
    return messages_ ? messages_->read(sample)
                     : read_text(Column::MessageOffset, Column::MessageUtf8, sample);
  }

  SampleStatus read_status(std::int64_t sample) const {
    const std::uint8_t status =
        column(Column::SampleStatus).read<std::uint8_t>({sample, sample + 1}).front();
    if (status > static_cast<std::uint8_t>(SampleStatus::Skipped)) {
      throw DataError(fmt::format(
          "{}: samples/status must be 0, 1 or 2: {} of sample {}", file_.name(), status, sample));
    }
    return static_cast<SampleStatus>(status);
  }

  std::vector<TokenRecord> read_tokens(std::int64_t sample) const {
    const RowRange rows = read_rows(Column::TokenOffset, Column::TokenId, sample);
    const auto ids = column(Column::TokenId).read<std::int32_t>(rows);
    const auto chars = read_chars(Column::TokenCharStart, Column::TokenCharEnd, rows);
    std::vector<TokenRecord> tokens;
    for (std::size_t i = 0; i < ids.size(); ++i)
      tokens.push_back({ids[i], chars[i]});
    return tokens;
  }

  std::vector<UnitRecord> read_units(std::int64_t sample) const {
    const RowRange rows = read_rows(Column::UnitOffset, Column::UnitCharStart, sample);
    const auto chars = read_chars(Column::UnitCharStart, Column::UnitCharEnd, rows);
    const auto boxes = read_boxes(Column::UnitBox, rows);
    const ColumnReader& tokens = column(Column::UnitToken);
    const auto offsets = column(Column::UnitTokenOffset).read_offsets(rows, tokens.rows());
    const auto positions = tokens.read<std::int32_t>({offsets.front(), offsets.back()});
    std::vector<UnitRecord> units;
    for (std::size_t i = 0; i < chars.size(); ++i) {
      const auto begin = positions.begin() + (offsets[i] - offsets.front());
      const auto end = positions.begin() + (offsets[i + 1] - offsets.front());
      units.push_back({chars[i], boxes[i], {begin, end}});
    }
    return units;
  }

  std::vector<TargetRecord> read_targets(std::int64_t sample) const {
    const RowRange rows = read_rows(Column::TargetOffset, Column::TargetPosition, sample);
    const auto positions = column(Column::TargetPosition).read<std::int32_t>(rows);
    const auto tokens = column(Column::TargetToken).read<std::int32_t>(rows);
    const auto log_probs = column(Column::TargetLogProb).read<float>(rows);
    std::vector<TargetRecord> targets;
    for (std::size_t i = 0; i < positions.size(); ++i) {
      targets.push_back({positions[i], tokens[i], log_probs[i]});
    }
    return targets;
  }

  std::vector<EvidenceRecord> read_evidence(std::int64_t sample) const {
    const RowRange rows = read_rows(Column::EvidenceOffset, Column::EvidenceCharStart, sample);
    const auto chars = read_chars(Column::EvidenceCharStart, Column::EvidenceCharEnd, rows);
    const auto boxes = read_boxes(Column::EvidenceBox, rows);
    std::vector<EvidenceRecord> evidence;
    for (std::size_t i = 0; i < chars.size(); ++i)
      evidence.push_back({chars[i], boxes[i]});
    return evidence;
  }

  std::vector<CharRange> read_chars(Column start, Column end, RowRange rows) const {
    const auto starts = column(start).read<std::int32_t>(rows);
    const auto ends = column(end).read<std::int32_t>(rows);
    std::vector<CharRange> chars;
    for (std::size_t i = 0; i < starts.size(); ++i)
      chars.push_back({starts[i], ends[i]});
    return chars;
  }

  std::vector<PixelBox> read_boxes(Column boxes, RowRange rows) const {
    const auto corners = column(boxes).read<std::int32_t>(rows);
    std::vector<PixelBox> result;
    for (std::size_t i = 0; i < corners.size(); i += kCorners.size()) {
      result.push_back({corners[i], corners[i + 1], corners[i + 2], corners[i + 3]});
    }
    return result;
  }

  // What the types of a SampleRecord do not say but its users lean on.
  void check_record(const SampleRecord& record, std::int64_t sample) const {
    const auto refuse = [&](std::string_view what) {
      throw DataError(fmt::format("{}: {}: sample {} ({})", file_.name(), what, sample, record.id));
    };
    const auto is_position = [&](std::int32_t position) {
      return position >= 0 && position < static_cast<std::int64_t>(record.tokens.size());
    };
    if (record.delta.size() != record.units.size() * record.targets.size()) {
      refuse("relevance/delta must hold a value for each unit and target");
    }
    for (const UnitRecord& unit : record.units) {
      if (!std::all_of(unit.tokens.begin(), unit.tokens.end(), is_position)) {
        refuse("units/token must be positions in the sample's tokens");
      }
    }
    for (const TargetRecord& target : record.targets) {
      if (!is_position(target.position)) {
        refuse("targets/position must be a position in the sample's tokens");
      }
    }
  }

  Hdf5File file_;
  RelevanceAttributes attributes_;
  std::vector<std::optional<ColumnReader>> columns_;  // kRelevanceColumns
  // In a file without limn's own copy of them.
  std::optional<TextColumnReader> ids_;
  std::optional<TextColumnReader> messages_;
  std::vector<std::int64_t> part_sample_index_;
  std::vector<PartBatch> part_batches_;
};

RelevanceReader::RelevanceReader(const std::filesystem::path& path)
    : impl_(std::make_unique<Impl>(path)) {}

RelevanceReader::~RelevanceReader() = default;
RelevanceReader::RelevanceReader(RelevanceReader&&) noexcept = default;
RelevanceReader& RelevanceReader::operator=(RelevanceReader&&) noexcept = default;

const RelevanceAttributes& RelevanceReader::attributes() const {
  return impl_->attributes();
}

std::int64_t RelevanceReader::num_samples() const {
  return impl_->num_samples();
}

std::vector<std::string> RelevanceReader::sample_ids() const {
  return impl_->sample_ids();
}

SampleRecord RelevanceReader::read(std::int64_t sample) const {
  return impl_->read(sample);
}

std::vector<std::int64_t> RelevanceReader::part_sample_index() const {
  return impl_->part_sample_index();
}

std::vector<std::int64_t> RelevanceReader::part_batch_ids() const {
  std::vector<std::int64_t> ids;
  for (const PartBatch& batch : impl_->part_batches())
    ids.push_back(batch.id);
  return ids;
}

std::vector<PartBatch> RelevanceReader::part_batches() const {
  return impl_->part_batches();
}

}  // namespace limn
