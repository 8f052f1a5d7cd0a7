// RUN/manifest.json: what a run directory computes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "storage/relevance_file.h"
#include "storage/run_owner.h"

namespace limn {

// A file of the dataset as a run found it.
struct DatasetFileContent {
  std::string name;  // below the folder or pattern that data.path is
  std::int64_t bytes = 0;
  std::string fingerprint;  // of these bytes

  bool operator==(const DatasetFileContent&) const = default;
};

// What a run directory computes. Two starts with equal contents continue each other: every key can
// alter values (or which batches there are), and a change of any is refused by name.
struct RunManifest {
  // Key -> value, for example "explain.factor" -> "0.0" or "dataset" -> "xxh3:...". Compared key by
  // key.
  std::map<std::string, std::string> fingerprint;
  std::vector<DatasetFileContent> dataset_files = {};  // of which "dataset" is the fingerprint
  RelevanceAttributes attributes;                      // `complete` is ignored
  RunOwner begun = {};                                 // the start that began the run
};

// What stands against taking the dataset of now for `earlier` and more behind its end; nothing if
// that is what it is.
using ObjectionToGrowth =
    std::function<std::optional<std::string>(std::span<const DatasetFileContent> earlier)>;

// The key of the fingerprint that a dataset which grows changes.
inline constexpr const char* kDatasetKey = "dataset";

// Replaces the file durably. Throws IoError.
void write_manifest(const std::filesystem::path& path, const RunManifest& manifest);

// `now` stands for keys that an earlier version of the file did not have.
// Throws DataError when it is damaged or of a version that this limn does not know.
RunManifest read_manifest(const std::filesystem::path& path, const RunManifest& now);

// The first key, in their order, that only one side has or whose values differ.
std::optional<std::string> first_difference(const RunManifest& left, const RunManifest& right);

// "none" where it has no such key.
std::string value_or_none(const RunManifest& manifest, const std::string& key);

}  // namespace limn
