// `limn merge`: the results of a dataset's shards as one.
#pragma once

#include <filesystem>
#include <ostream>
#include <vector>

namespace limn {

// limn merge OUT.h5 RUN_DIR|FILE...
struct MergeOptions {
  std::filesystem::path result;
  std::vector<std::filesystem::path> inputs;  // run directories and relevance files
};

// Writes the relevance file of the whole dataset, its samples in the dataset's order whatever the
// order of the inputs, durably and whole or not at all, and says in `out` what it wrote.
// Throws DataError naming all that is in the way: an input that is damaged, not complete or of
// another job or model, a shard that is missing or there twice; UsageError when the result would
// replace an input or what is no relevance file; IoError.
void merge(const MergeOptions& options, std::ostream& out);

}  // namespace limn
