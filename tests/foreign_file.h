// A relevance file as a program other than limn writes it: by the tables of docs/relevance-file.md
// and HDF5's defaults, without anything that limn adds of its own.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <hdf5.h>

#include "tests/sample_records.h"

namespace limn::test {

struct ForeignFileOptions {
  bool is_wide = false;          // int64 and float64, big-endian, whatever the tables say
  bool has_fixed_texts = false;  // padded with spaces, as Fortran writes them
  bool has_evidence = true;
};

// What write_foreign_file() writes.
inline std::vector<SampleRecord> foreign_records(const ForeignFileOptions& options = {}) {
  SampleRecord failed;
  failed.id = "two";
  failed.status = SampleStatus::Failed;
  failed.message = "too long";
  std::vector<SampleRecord> records = {example_record(), failed};
  if (!options.has_evidence) records[0].evidence.clear();
  return records;
}

class ForeignFileWriter {
 public:
  ForeignFileWriter(const std::filesystem::path& path, const ForeignFileOptions& options)
      : options_(options),
        file_(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT)),
        link_creation_(H5Pcreate(H5P_LINK_CREATE)) {
    H5Pset_create_intermediate_group(link_creation_, 1);
  }

  ~ForeignFileWriter() {
    H5Pclose(link_creation_);
    H5Fclose(file_);
  }

  ForeignFileWriter(const ForeignFileWriter&) = delete;
  ForeignFileWriter& operator=(const ForeignFileWriter&) = delete;

  void write_attributes(const RelevanceAttributes& attributes) {
    write_text_attribute("format", "limn.relevance");
    write_integer_attribute("format_version", 1);
    write_truth_attribute("complete", attributes.complete);
    write_text_attribute("job", attributes.job);
    write_text_attribute("model", attributes.model);
    write_text_attribute("software_version", attributes.software_version);
    write_integer_attribute("tensor_parallel", attributes.tensor_parallel);
    write_text_attribute("dtype", attributes.dtype);
  }

  void write_samples() {
    write_texts("samples/id", {"caf\xC3\xA9", "two"});
    write_integers("samples/status", H5T_STD_U8LE, {0, 1});
    write_texts("samples/message", {"", "too long"});
    const std::string text = "Ada met Bo. Who? Bo";
    write_offsets("text/offset", {0, 19, 19});
    write_integers("text/utf8", H5T_STD_U8LE, {text.begin(), text.end()});
    write_offsets("tokens/offset", {0, 6, 6});
    write_integers("tokens/id", {1, 37, 52, 11, 9, 11});
    write_integers("tokens/char_start", {-1, 0, 3, 7, 11, 16});
    write_integers("tokens/char_end", {-1, 3, 7, 11, 16, 19});
  }

  void write_maps() {
    write_offsets("units/offset", {0, 2, 2});
    write_integers("units/char_start", {0, 12});
    write_integers("units/char_end", {11, 16});
    leave_boxes("units/box", 2);
    write_offsets("units/token_offset", {0, 3, 4});
    write_integers("units/token", {1, 2, 3, 4});
    write_offsets("targets/offset", {0, 1, 1});
    write_integers("targets/position", {5});
    write_integers("targets/token", {11});
    write_reals("targets/log_prob", {-0.5});
    write_offsets("relevance/offset", {0, 2, 2});
    write_reals("relevance/delta", {2.25, 0.125});
  }

  void write_evidence() {
    write_offsets("evidence/offset", {0, 1, 1});
    write_integers("evidence/char_start", {0});
    write_integers("evidence/char_end", {11});
    leave_boxes("evidence/box", 1);
  }

 private:
  void write_integers(const char* path, const std::vector<std::int64_t>& values) {
    write_integers(path, H5T_STD_I32LE, values);
  }

  void write_offsets(const char* path, const std::vector<std::int64_t>& values) {
    write_integers(path, H5T_STD_I64LE, values);
  }

  void write_integers(const char* path, hid_t type, const std::vector<std::int64_t>& values) {
    const hid_t stored = options_.is_wide ? H5T_STD_I64BE : type;
    write_dataset(path, stored, H5T_NATIVE_INT64, values.size(), values.data());
  }

  void write_reals(const char* path, const std::vector<double>& values) {
    const hid_t stored = options_.is_wide ? H5T_IEEE_F64BE : H5T_IEEE_F32LE;
    write_dataset(path, stored, H5T_NATIVE_DOUBLE, values.size(), values.data());
  }

  // Boxes of text are all missing: a fill value says so without a byte in the file.
  void leave_boxes(const char* path, hsize_t rows) {
    const std::array<hsize_t, 2> extents = {rows, 4};
    const std::int32_t missing = -1;
    const hid_t space = H5Screate_simple(2, extents.data(), nullptr);
    const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_fill_value(creation, H5T_NATIVE_INT32, &missing);
    H5Dclose(H5Dcreate2(file_, path, H5T_STD_I32LE, space, link_creation_, creation, H5P_DEFAULT));
    H5Pclose(creation);
    H5Sclose(space);
  }

  void write_texts(const char* path, const std::vector<std::string>& texts) {
    if (options_.has_fixed_texts) {
      const hid_t type = fixed_type(texts);
      const std::string characters = padded(texts, H5Tget_size(type));
      write_dataset(path, type, type, texts.size(), characters.data());
      H5Tclose(type);
      return;
    }
    const hid_t type = variable_type();
    std::vector<const char*> pointers;
    for (const std::string& text : texts)
      pointers.push_back(text.c_str());
    write_dataset(path, type, type, texts.size(), pointers.data());
    H5Tclose(type);
  }

  void write_dataset(
      const char* path, hid_t stored, hid_t memory, hsize_t rows, const void* values) {
    const hid_t space = H5Screate_simple(1, &rows, nullptr);
    const hid_t dataset =
        H5Dcreate2(file_, path, stored, space, link_creation_, H5P_DEFAULT, H5P_DEFAULT);
    H5Dwrite(dataset, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
    H5Dclose(dataset);
    H5Sclose(space);
  }

  void write_text_attribute(const char* name, const std::string& text) {
    const hid_t type = options_.has_fixed_texts ? fixed_type({text}) : variable_type();
    const char* const characters = text.c_str();
    const void* value = &characters;
    if (options_.has_fixed_texts) value = characters;
    write_attribute(name, type, type, value);
    H5Tclose(type);
  }

  void write_integer_attribute(const char* name, std::int64_t value) {
    const hid_t stored = options_.is_wide ? H5T_STD_I64BE : H5T_STD_I32LE;
    write_attribute(name, stored, H5T_NATIVE_INT64, &value);
  }

  // As h5py writes True.
  void write_truth_attribute(const char* name, bool value) {
    const hid_t type = H5Tenum_create(H5T_NATIVE_INT8);
    const std::array<std::int8_t, 2> values = {0, 1};
    H5Tenum_insert(type, "FALSE", &values[0]);
    H5Tenum_insert(type, "TRUE", &values[1]);
    write_attribute(name, type, type, &values[value ? 1 : 0]);
    H5Tclose(type);
  }

  void write_attribute(const char* name, hid_t stored, hid_t memory, const void* value) {
    const hid_t space = H5Screate(H5S_SCALAR);
    const hid_t attribute = H5Acreate2(file_, name, stored, space, H5P_DEFAULT, H5P_DEFAULT);
    H5Awrite(attribute, memory, value);
    H5Aclose(attribute);
    H5Sclose(space);
  }

  static hid_t variable_type() {
    const hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, H5T_VARIABLE);
    H5Tset_cset(type, H5T_CSET_UTF8);
    return type;
  }

  // As long as the longest text, without room for a NUL.
  static hid_t fixed_type(const std::vector<std::string>& texts) {
    std::size_t size = 1;
    for (const std::string& text : texts)
      size = std::max(size, text.size());
    const hid_t type = H5Tcopy(H5T_FORTRAN_S1);
    H5Tset_size(type, size);
    return type;
  }

  static std::string padded(const std::vector<std::string>& texts, std::size_t size) {
    std::string characters;
    for (const std::string& text : texts)
      characters += text + std::string(size - text.size(), ' ');
    return characters;
  }

  ForeignFileOptions options_;
  hid_t file_;
  hid_t link_creation_;
};

inline void write_foreign_file(
    const std::filesystem::path& path, const ForeignFileOptions& options = {}) {
  ForeignFileWriter writer(path, options);
  writer.write_attributes(example_attributes());
  writer.write_samples();
  writer.write_maps();
  if (options.has_evidence) writer.write_evidence();
}

}  // namespace limn::test
