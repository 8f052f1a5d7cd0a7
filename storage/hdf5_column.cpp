#include "storage/hdf5_column.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace limn {

namespace {

// Small enough that a file of one sample stays small and one sample is read quickly, large enough
// that a chunk's own cost of some 30 bytes does not matter and deflate finds what repeats.
constexpr std::int64_t kChunkBytes = 64 * 1024;

// References to texts are not compressed, so that a chunk of them takes up its whole size.
constexpr std::int64_t kTextChunkBytes = 4 * 1024;

// Level 9 makes files of samples of 100 units and 20 targets 2 % smaller, and takes twice the time.
constexpr unsigned kDeflateLevel = 1;

// Deflate shrinks no more than 1032 to 1.
constexpr double kMaxCompression = 1032;

// Samples that follow each other lie in the same chunk or the next one.
constexpr std::int64_t kReadCacheBytes = 2 * kChunkBytes;

std::int64_t element_bytes(ElementType type) {
  switch (type) {
    case ElementType::Uint8:
      return 1;
    case ElementType::Int32:
    case ElementType::Float32:
      return 4;
    case ElementType::Int64:
      return 8;
    case ElementType::Text:
      return 16;  // HDF5's reference to where the text lies
  }
  throw InternalError("element_bytes: no such element type");
}

std::int64_t row_bytes(const ColumnFormat& format) {
  return format.width * element_bytes(format.type);
}

std::int64_t chunk_rows(const ColumnFormat& format) {
  const std::int64_t bytes = format.type == ElementType::Text ? kTextChunkBytes : kChunkBytes;
  return bytes / row_bytes(format);
}

Hdf5Dataset create_column(Hdf5File& file, const ColumnFormat& format) {
  const DatasetOptions options = {
      .type = format.type,
      .width = format.width,
      .chunk_rows = chunk_rows(format),
      .deflate_level = kDeflateLevel};
  return file.create_dataset(format.path, options);
}

std::string base_name(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

// A header may promise rows that take no room in the file, but not in memory. The whole file
// counts: a column of another program may hold nothing but its fill value.
void check_fits(
    const Hdf5File& file, const ColumnFormat& format, std::int64_t rows, std::int64_t row_bytes) {
  const double bytes = static_cast<double>(rows) * static_cast<double>(row_bytes);
  if (bytes > kMaxCompression * static_cast<double>(file.bytes())) {
    throw DataError(
        fmt::format("{}: {} is shorter than it says: {} rows", file.name(), format.path, rows));
  }
}

// What netCDF-4 calls the scale of a dimension that has no values.
std::string valueless_name(std::int64_t length) {
  return fmt::format("This is a netCDF dimension but not a netCDF variable.{:10}", length);
}

}  // namespace

ColumnWriter::ColumnWriter(Hdf5File& file, const ColumnFormat& format)
    : format_(format),
      row_bytes_(row_bytes(format)),
      chunk_rows_(chunk_rows(format)),
      dataset_(create_column(file, format)) {}

std::int64_t ColumnWriter::rows() const {
  return dataset_.rows() + static_cast<std::int64_t>(held_.size()) / row_bytes_;
}

void ColumnWriter::append_bytes(std::span<const std::byte> values) {
  held_.insert(held_.end(), values.begin(), values.end());
  // Whole chunks only: each is compressed and written once.
  const std::int64_t held_rows = static_cast<std::int64_t>(held_.size()) / row_bytes_;
  write_rows(held_rows / chunk_rows_ * chunk_rows_);
}

void ColumnWriter::flush() {
  write_rows(static_cast<std::int64_t>(held_.size()) / row_bytes_);
}

void ColumnWriter::write_rows(std::int64_t num_rows) {
  if (num_rows == 0) return;
  const RowRange rows = {dataset_.rows(), dataset_.rows() + num_rows};
  dataset_.resize(rows.end);
  dataset_.write(rows, format_.type, held_.data());
  held_.erase(held_.begin(), held_.begin() + num_rows * row_bytes_);
}

TextColumnWriter::TextColumnWriter(Hdf5File& file, const ColumnFormat& format)
    : format_(format),
      dataset_(create_column(file, format)) {}

std::int64_t TextColumnWriter::rows() const {
  return dataset_.rows() + static_cast<std::int64_t>(held_.size());
}

void TextColumnWriter::append(std::string text) {
  held_.push_back(std::move(text));
  if (static_cast<std::int64_t>(held_.size()) == chunk_rows(format_)) flush();
}

void TextColumnWriter::flush() {
  if (held_.empty()) return;
  std::vector<const char*> texts;
  for (const std::string& text : held_)
    texts.push_back(text.c_str());
  const RowRange range = {dataset_.rows(), rows()};
  dataset_.resize(range.end);
  dataset_.write(range, format_.type, texts.data());
  held_.clear();
}

ColumnReader::ColumnReader(const Hdf5File& file, const ColumnFormat& format)
    : file_(file.name()),
      format_(format),
      dataset_(file.open_dataset(format.path, kReadCacheBytes)) {
  if (!dataset_.holds_numbers()) {
    throw DataError(fmt::format("{}: must hold numbers: {}", file_, format.path));
  }
  // Other programs write nothing as a list of nothing.
  if (dataset_.width() != format.width && rows() != 0) {
    throw DataError(fmt::format(
        "{}: {} must have rows of {}: {}", file_, format.path, format.width, dataset_.width()));
  }
  check_fits(file, format, rows(), row_bytes(format));
}

std::vector<std::int64_t> ColumnReader::read_offsets(RowRange ranges, std::int64_t num_rows) const {
  std::vector<std::int64_t> offsets = read<std::int64_t>({ranges.begin, ranges.end + 1});
  const bool ascend = std::is_sorted(offsets.begin(), offsets.end());
  if (!ascend || offsets.front() < 0 || offsets.back() > num_rows) {
    throw DataError(fmt::format(
        "{}: {} must ascend from 0 to {}: rows {} to {} do not",
        file_,
        format_.path,
        num_rows,
        ranges.begin,
        ranges.end));
  }
  return offsets;
}

void ColumnReader::check_range(RowRange range) const {
  if (range.begin < 0 || range.begin > range.end || range.end > rows()) {
    throw DataError(fmt::format(
        "{}: {} must have rows {} to {}: {} rows",
        file_,
        format_.path,
        range.begin,
        range.end,
        rows()));
  }
}

TextColumnReader::TextColumnReader(const Hdf5File& file, const ColumnFormat& format)
    : dataset_(file.open_dataset(format.path, kReadCacheBytes)) {
  if (!dataset_.holds_texts() || dataset_.width() != 1) {
    throw DataError(fmt::format("{}: must hold one text in a row: {}", file.name(), format.path));
  }
  check_fits(file, format, rows(), dataset_.element_bytes());
}

std::string TextColumnReader::read(std::int64_t row) const {
  check(row >= 0 && row < rows(), "no such text: {}", row);
  return dataset_.read_texts({row, row + 1}).front();
}

void write_dimension_scales(
    Hdf5File& file,
    const std::map<std::string, std::int64_t>& lengths,
    std::span<const ScaledDataset> datasets) {
  struct Uses {
    std::vector<hobj_ref_t> datasets;
    std::vector<int> axes;
  };

  std::map<std::string, Uses> uses_of;
  for (const ScaledDataset& scaled : datasets) {
    for (std::size_t axis = 0; axis < scaled.dimensions.size(); ++axis) {
      Uses& uses = uses_of[scaled.dimensions[axis]];
      uses.datasets.push_back(file.reference(scaled.path));
      uses.axes.push_back(static_cast<int>(axis));
    }
  }

  for (const auto& [path, uses] : uses_of) {
    const bool has_values = file.has(path);
    Hdf5Dataset scale = has_values ? file.open_dataset(path, kReadCacheBytes)
                                   : file.create_dimension(path, lengths.at(path));
    scale.write_text_attribute("CLASS", "DIMENSION_SCALE");
    scale.write_text_attribute("NAME", has_values ? base_name(path) : valueless_name(scale.rows()));
    scale.write_reference_list(uses.datasets, uses.axes);
  }

  for (const ScaledDataset& scaled : datasets) {
    std::vector<hobj_ref_t> scales;
    for (const std::string& path : scaled.dimensions)
      scales.push_back(file.reference(path));
    scaled.dataset->write_dimension_list(scales);
  }
}

}  // namespace limn
