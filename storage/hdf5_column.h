// Columns of a relevance file: datasets that grow row by row, and the dimension scales that name
// their axes. Private to storage.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "storage/error.h"
#include "storage/hdf5_handle.h"

namespace limn {

struct ColumnFormat {
  const char* path;
  const char* dimension;  // the dataset that is the scale of its rows
  ElementType type;
  std::int64_t width = 1;  // elements of a row; above 1 the dataset has two dimensions
};

template <typename T>
constexpr ElementType element_type() {
  if constexpr (std::is_same_v<T, std::uint8_t>) return ElementType::Uint8;
  if constexpr (std::is_same_v<T, std::int32_t>) return ElementType::Int32;
  if constexpr (std::is_same_v<T, std::int64_t>) return ElementType::Int64;
  if constexpr (std::is_same_v<T, float>) return ElementType::Float32;
}

// Appends rows to a new dataset of numbers. Holds less than a chunk and what one append() adds.
// Threads: one thread at a time.
class ColumnWriter {
 public:
  ColumnWriter(Hdf5File& file, const ColumnFormat& format);

  // Requires: `values` are whole rows of the column's element type. Throws IoError.
  template <typename T>
  void append(std::span<const T> values) {
    check(element_type<T>() == format_.type, "{}: appended in another type", format_.path);
    append_bytes(std::as_bytes(values));
  }

  template <typename T>
  void append(T value) {
    append(std::span<const T>(&value, 1));
  }

  // Rows appended so far.
  std::int64_t rows() const;

  // Writes what is still held. Throws IoError.
  void flush();

  const ColumnFormat& format() const { return format_; }

  Hdf5Dataset& dataset() { return dataset_; }

 private:
  void append_bytes(std::span<const std::byte> values);
  void write_rows(std::int64_t num_rows);

  ColumnFormat format_;
  std::int64_t row_bytes_;
  std::int64_t chunk_rows_;
  Hdf5Dataset dataset_;
  std::vector<std::byte> held_;
};

// The same for texts.
class TextColumnWriter {
 public:
  TextColumnWriter(Hdf5File& file, const ColumnFormat& format);

  void append(std::string text);
  std::int64_t rows() const;
  void flush();

  const ColumnFormat& format() const { return format_; }

  Hdf5Dataset& dataset() { return dataset_; }

 private:
  ColumnFormat format_;
  Hdf5Dataset dataset_;
  std::vector<std::string> held_;
};

// Reads rows of a dataset of numbers. Threads: one thread at a time.
class ColumnReader {
 public:
  // Throws DataError when the dataset is missing, of another shape, holds no numbers, or says that
  // it has more rows than the file can hold. Numbers of other types are converted.
  ColumnReader(const Hdf5File& file, const ColumnFormat& format);

  std::int64_t rows() const { return dataset_.rows(); }

  // Row by row. Throws DataError when the rows are not there or a checksum does not hold.
  template <typename T>
  std::vector<T> read(RowRange rows) const {
    check(element_type<T>() == format_.type, "{}: read in another type", format_.path);
    check_range(rows);
    std::vector<T> values(static_cast<std::size_t>((rows.end - rows.begin) * format_.width));
    if (!values.empty()) dataset_.read(rows, format_.type, values.data());
    return values;
  }

  template <typename T>
  std::vector<T> read_all() const {
    return read<T>({0, rows()});
  }

  // Offsets [ranges.begin, ranges.end] of a column of offsets: where its ranges begin, and where
  // the last one ends. Throws DataError unless they ascend within [0, num_rows].
  std::vector<std::int64_t> read_offsets(RowRange ranges, std::int64_t num_rows) const;

 private:
  void check_range(RowRange rows) const;

  std::string file_;
  ColumnFormat format_;
  Hdf5Dataset dataset_;
};

// Reads texts that HDF5 stores as such, of variable or of fixed length, with the risk of
// Hdf5Dataset::read_texts(). Threads: one thread at a time.
class TextColumnReader {
 public:
  // Throws DataError when the dataset is missing, of another shape, holds no texts, or says that it
  // has more rows than the file can hold.
  TextColumnReader(const Hdf5File& file, const ColumnFormat& format);

  std::int64_t rows() const { return dataset_.rows(); }

  // Requires: 0 <= row < rows(). Throws DataError when it cannot be read.
  std::string read(std::int64_t row) const;

 private:
  Hdf5Dataset dataset_;
};

// A dataset and the scale of each of its axes.
struct ScaledDataset {
  Hdf5Dataset* dataset;
  std::string path;
  std::vector<std::string> dimensions;
};

// Names every axis of `datasets`, by the HDF5 Dimension Scale Specification, so that netCDF-4
// readers such as xarray take the scales for dimensions. (HDF5's own function writes padding bytes
// that nobody set.) A scale that is not in the file yet becomes a dimension without values, of its
// length in `lengths`. Throws IoError.
void write_dimension_scales(
    Hdf5File& file,
    const std::map<std::string, std::int64_t>& lengths,
    std::span<const ScaledDataset> datasets);

}  // namespace limn
