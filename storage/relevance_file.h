// The relevance file: relevance maps of a dataset in HDF5, and the parts that a run seals.
//
// docs/relevance-file.md specifies the layout; relevance_format.h holds its constants.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "storage/sample_record.h"

namespace limn {

// The root attributes that describe a whole file.
struct RelevanceAttributes {
  bool complete = false;         // every sample of the dataset, every unit of each
  std::string job;               // the resolved job as TOML
  std::string model;             // fingerprint of the model's config
  std::string software_version;  // of limn
  std::int32_t tensor_parallel = 1;
  std::string dtype;  // the sweep's arithmetic

  bool operator==(const RelevanceAttributes&) const = default;
};

// A batch that a part holds.
struct PartBatch {
  std::int64_t id = 0;
  // A fingerprint of what was computed in it: the samples and units, not the values. 0: not known,
  // in parts of earlier releases.
  std::int64_t contents = 0;

  bool operator==(const PartBatch&) const = default;
};

// Writes samples one after the other. The file is a relevance file only after close(): a writer
// that is destroyed before leaves an incomplete file behind, which no reader opens.
//
// The bytes written depend on the arguments alone: no time, no host, no order of allocation.
// Threads: one thread at a time.
class RelevanceWriter {
 public:
  // Creates (or truncates) the file at `path`. Throws IoError.
  RelevanceWriter(const std::filesystem::path& path, const RelevanceAttributes& attributes);
  ~RelevanceWriter();
  RelevanceWriter(RelevanceWriter&&) noexcept;
  RelevanceWriter& operator=(RelevanceWriter&&) noexcept;

  // Appends one sample; memory stays bounded whatever their number, but for 4 bytes of each.
  // Requires: delta.size() == units.size() * targets.size().
  // Throws IoError, for example when the disk is full.
  void append(const SampleRecord& sample);

  // Adds what makes the file a part: which samples of the dataset these are, how many of their
  // units are measured, and which batches it holds. Requires: one index for each appended sample,
  // ascending.
  void write_part_contents(
      std::span<const std::int64_t> sample_index, std::span<const PartBatch> batches);

  // Writes what is buffered, attaches the dimension scales, closes the file and syncs it to disk.
  // Throws IoError.
  void close();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// Reads a relevance file or a part, of limn or of another program. Threads: one thread at a time.
//
// No damage to a file of limn makes it crash. That cannot be said of files of other programs, which
// lack limn's checksums: docs/relevance-file.md, "Files of other programs".
class RelevanceReader {
 public:
  // Throws IoError when the file cannot be opened, DataError when it is no relevance file, is
  // damaged, or is of another format version (the message names both versions).
  explicit RelevanceReader(const std::filesystem::path& path);
  ~RelevanceReader();
  RelevanceReader(RelevanceReader&&) noexcept;
  RelevanceReader& operator=(RelevanceReader&&) noexcept;

  const RelevanceAttributes& attributes() const;
  std::int64_t num_samples() const;

  // The ids of all samples, in file order.
  std::vector<std::string> sample_ids() const;

  // Requires: 0 <= sample < num_samples(). Throws DataError when a checksum does not hold.
  SampleRecord read(std::int64_t sample) const;

  // What write_part_contents() wrote; empty in a file that is no part.
  std::vector<std::int64_t> part_sample_index() const;
  std::vector<std::int64_t> part_batch_ids() const;
  std::vector<PartBatch> part_batches() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace limn
