// RAII over the HDF5 C library. Private to storage: only its .cpp files include this header.
//
// Every call of the library is made in hdf5_handle.cpp, once, and checked. A failed call throws
// with the file's name and the library's own innermost words: IoError from a file that is written,
// DataError from one that is read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <hdf5.h>

namespace limn {

// Owns: an identifier of HDF5, closed by `Close` on destruction. Move-only.
template <auto Close>
class Hdf5Id {
 public:
  explicit Hdf5Id(hid_t id) : id_(id) {}

  ~Hdf5Id() {
    if (id_ < 0) return;
    // Each thread has an error stack of its own, which prints unless told otherwise.
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
    Close(id_);
  }

  Hdf5Id(Hdf5Id&& other) noexcept : id_(std::exchange(other.id_, H5I_INVALID_HID)) {}

  Hdf5Id& operator=(Hdf5Id&& other) noexcept {
    std::swap(id_, other.id_);
    return *this;
  }

  Hdf5Id(const Hdf5Id&) = delete;
  Hdf5Id& operator=(const Hdf5Id&) = delete;

  hid_t get() const { return id_; }

  // Gives up the ownership.
  hid_t release() { return std::exchange(id_, H5I_INVALID_HID); }

 private:
  hid_t id_;
};

using Hdf5AttributeId = Hdf5Id<H5Aclose>;
using Hdf5DatasetId = Hdf5Id<H5Dclose>;
using Hdf5FileId = Hdf5Id<H5Fclose>;
using Hdf5GroupId = Hdf5Id<H5Gclose>;
using Hdf5PropertiesId = Hdf5Id<H5Pclose>;
using Hdf5SpaceId = Hdf5Id<H5Sclose>;
using Hdf5TypeId = Hdf5Id<H5Tclose>;

enum class Hdf5Access { Read, Write };

// Where a call belongs: decides what it throws and which file the message names.
struct Hdf5Origin {
  std::string file;
  Hdf5Access access = Hdf5Access::Read;
};

// The element types of limn's files: little-endian, whatever the machine.
enum class ElementType { Uint8, Int32, Int64, Float32, Text };

// Rows [begin, end) of a dataset.
struct RowRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

// An open dataset of shape [rows], or [rows, width] where the width is not 1. Threads: one thread
// at a time.
class Hdf5Dataset {
 public:
  // Throws DataError when the dataset is of another shape.
  Hdf5Dataset(Hdf5Origin origin, std::string path, Hdf5DatasetId id);

  std::int64_t rows() const { return rows_; }

  std::int64_t width() const { return width_; }

  // Whether its elements are numbers (truth values count as such) or texts, and how many bytes one
  // takes: for texts of variable length, of a pointer.
  bool holds_numbers() const;
  bool holds_texts() const;
  std::int64_t element_bytes() const;

  // Sets the number of rows.
  void resize(std::int64_t rows);

  // Requires: `values` points to (rows.end - rows.begin) * width elements of `type`, in the
  // machine's own byte order; for Text to const char*.
  void write(RowRange rows, ElementType type, const void* values);
  void read(RowRange rows, ElementType type, void* values) const;

  // Requires: it holds texts, in one dimension. Those of variable length lie where HDF5 1.10 checks
  // neither bounds nor checksums: in a damaged file this may crash or never return.
  std::vector<std::string> read_texts(RowRange rows) const;

  // Attributes. An object of HDF5 keeps no order of them, and no time.
  void write_text_attribute(const std::string& name, const std::string& text);
  void write_dimension_list(std::span<const hobj_ref_t> scales);
  void write_reference_list(std::span<const hobj_ref_t> datasets, std::span<const int> axes);

 private:
  Hdf5SpaceId select(RowRange rows) const;
  Hdf5TypeId stored_type() const;

  Hdf5Origin origin_;
  std::string path_;
  Hdf5DatasetId id_;
  std::int64_t rows_ = 0;
  std::int64_t width_ = 1;
};

struct DatasetOptions {
  ElementType type = ElementType::Uint8;
  std::int64_t width = 1;
  std::int64_t chunk_rows = 1;
  unsigned deflate_level = 1;
};

// An open file. Threads: one thread at a time.
class Hdf5File {
 public:
  // Creates or truncates a file whose metadata all carries checksums (HDF5 1.10's format). Throws
  // IoError.
  static Hdf5File create(const std::filesystem::path& path);

  // Opens for reading. Throws IoError when the file is missing or may not be read, DataError when
  // HDF5 does not understand it.
  static Hdf5File open(const std::filesystem::path& path);

  const std::string& name() const { return origin_.file; }

  // The size of the file.
  std::int64_t bytes() const;

  // Whether there is an object at `path`; false also when one of its groups is missing.
  bool has(const std::string& path) const;

  void create_group(const std::string& path);

  // An empty dataset without a limit of rows: chunked, and but for text (HDF5 does not filter it)
  // shuffled, deflated and with checksums.
  Hdf5Dataset create_dataset(const std::string& path, const DatasetOptions& options);

  // A dataset of float32 zeros that takes up no room: what netCDF-4 writes for a dimension.
  Hdf5Dataset create_dimension(const std::string& path, std::int64_t length);

  // A dataset of text that never grows.
  Hdf5Dataset create_text_dataset(const std::string& path, std::span<const char* const> values);

  // `cache_bytes`: how much of it, decompressed, is kept in memory. Throws DataError when there is
  // no such dataset.
  Hdf5Dataset open_dataset(const std::string& path, std::int64_t cache_bytes) const;

  // A reference to the object at `path`, as dimension scales use them.
  hobj_ref_t reference(const std::string& path) const;

  // Attributes of the root group. Text is written as h5py writes a str, fixed text as it writes
  // bytes: the latter lies in the object header itself, under its checksum.
  void write_attribute(const std::string& name, std::int32_t value);
  void write_attribute(const std::string& name, std::uint8_t value);
  void write_text_attribute(const std::string& name, const std::string& text);
  void write_fixed_text_attribute(const std::string& name, const std::string& text);

  bool has_attribute(const std::string& name) const;

  // Reads a text of either kind; of variable length with the risk of Hdf5Dataset::read_texts().
  // Throws DataError when the attribute is missing or not one text.
  std::string read_text_attribute(const std::string& name) const;

  // Reads an integer of any width, or a truth value as h5py writes it. Values beyond int32 become
  // its limits. Throws DataError when the attribute is missing or not one integer.
  std::int32_t read_integer_attribute(const std::string& name) const;

  // Writes what HDF5 holds back. Throws IoError. Datasets that are closed before may fail unheard.
  void flush();

  // Flushes and closes. Requires: no dataset is open any more. Throws IoError.
  void close();

 private:
  Hdf5File(Hdf5Origin origin, Hdf5FileId id);

  Hdf5AttributeId open_attribute(const std::string& name) const;

  Hdf5Origin origin_;
  Hdf5FileId id_;
};

}  // namespace limn
