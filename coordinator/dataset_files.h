// The files that a dataset consists of.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "coordinator/job.h"
#include "storage/run_manifest.h"

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

struct DatasetContents {
  // Equal for equal contents: of a file what file_fingerprint() says, of shards also their names,
  // which are a part of ids.
  std::string fingerprint;
  std::vector<DatasetFileContent> files;  // their names: of shards alone
};

// Reads all of the dataset. Throws IoError.
DatasetContents dataset_contents(const DataOptions& options);

// What stands against taking the dataset for one whose files were `earlier`, with more behind its
// end: naming the file and what is wrong. Nothing when it may be taken for that. Files may follow
// the last one, and that one may have grown by whole lines, if it is JSON Lines and not compressed;
// nothing else may have changed. Throws IoError.
std::optional<std::string> objection_to_growth(
    const DataOptions& options, std::span<const DatasetFileContent> earlier);

}  // namespace limn
