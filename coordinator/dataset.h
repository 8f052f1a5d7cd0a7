// Datasets as they are on disk: JSON Lines, one record after the other.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/job.h"
#include "storage/sample_record.h"

namespace limn {

// One line of the dataset, its keys checked and typed, nothing tokenized.
struct DatasetRecord {
  std::int64_t index = 0;  // counts records from 0
  std::string where;       // "squad.jsonl:7", for messages
  std::string id;
  // Exactly one of each pair is given; of the targets none where TargetKeys::Optional.
  std::optional<std::string> prompt;
  std::optional<std::vector<std::int32_t>> input_ids;
  std::optional<std::string> target;
  std::optional<std::vector<std::int32_t>> target_ids;
  // At most one of these.
  std::optional<std::vector<CharRange>> units;  // characters of the prompt
  std::optional<std::vector<std::vector<std::int32_t>>>
      unit_tokens;  // positions in prompt and target
  std::vector<EvidenceRecord> evidence;
};

// Whether a record must say what its target is.
enum class TargetKeys { Required, Optional };

// Reads a dataset once, from its first line to its last, holding one line at a time. Threads: one
// thread at a time.
class DatasetReader {
 public:
  // Throws IoError when the file is missing or cannot be read, JobError when the format is not
  // "jsonl".
  explicit DatasetReader(const DataOptions& options, TargetKeys target_keys = TargetKeys::Required);
  ~DatasetReader();
  DatasetReader(DatasetReader&&) noexcept;
  DatasetReader& operator=(DatasetReader&&) noexcept;

  // The next record, nothing at the end (or after `limit` records). Empty lines are passed over.
  // Throws DataError naming file and line: not JSON, not UTF-8, a key that is missing, unknown
  // (with the nearest known one), contradictory or of a wrong type; the call after that goes on
  // with the line after that. Throws IoError.
  std::optional<DatasetRecord> next();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace limn
