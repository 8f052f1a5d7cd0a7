// The records of a job's dataset, each with the target that is explained.
#pragma once

#include <optional>

#include "coordinator/dataset.h"
#include "coordinator/job.h"
#include "storage/generated_targets.h"

namespace limn {

// Whether the model itself gives the targets, not the dataset.
bool generates_targets(const Job& job);

// Reads the dataset once, from its first record to its last. Threads: one thread at a time.
class RecordSource {
 public:
  // Throws as DatasetReader.
  explicit RecordSource(const Job& job);

  // As DatasetReader::next(). Where the model gives the targets, they take the place of those of
  // the dataset; a record that it has given none has none. Throws DataError, too, when the file of
  // targets is damaged.
  std::optional<DatasetRecord> next();

 private:
  void add_generated_target(DatasetRecord& record);

  DatasetReader reader_;
  std::optional<GeneratedTargetsReader> targets_;
  std::optional<GeneratedTargetLine> line_;  // of a sample not met so far
};

}  // namespace limn
