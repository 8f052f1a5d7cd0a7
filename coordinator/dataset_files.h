// The files that a dataset consists of.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "coordinator/job.h"

namespace limn {

struct DatasetFile {
  std::filesystem::path path;
  std::string name;  // for messages and ids: the path below the folder that data.path names
};

struct DatasetFiles {
  std::vector<DatasetFile> files;
  // Whether data.path is a folder or a pattern, which may lead to more files tomorrow: a place in
  // the dataset is then a file's name and a line, even if there is one file today.
  bool are_shards = false;
};

// Finds the files that data.path leads to: the one of this name; those of the folder of this name
// that end as the format's files do (.jsonl or .json, also with .gz or .zst behind it) and do not
// begin with a dot; or those that match it as a pattern of glob(7). In the order of their names,
// byte by byte. Throws IoError when there is none.
DatasetFiles find_dataset_files(const DataOptions& options);

// Equal for equal contents: of a file what file_fingerprint() says, of shards also their names,
// which are a part of ids. Throws IoError.
std::string dataset_fingerprint(const DataOptions& options);

}  // namespace limn
