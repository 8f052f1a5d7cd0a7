#include "coordinator/dataset_files.h"

#include <glob.h>

#include <algorithm>
#include <memory>
#include <string_view>
#include <system_error>

#include <fmt/format.h>

#include "storage/error.h"
#include "storage/fingerprint.h"

namespace limn {

namespace {

namespace fs = std::filesystem;

std::string_view extension_of(const DataOptions& options) {
  return options.format == "squad" ? ".json" : ".jsonl";
}

bool is_shard_name(std::string_view name, std::string_view extension) {
  for (const std::string_view packing : {".gz", ".zst"}) {
    if (name.ends_with(packing)) name.remove_suffix(packing.size());
  }
  return name.ends_with(extension) && !name.starts_with('.');
}

std::vector<fs::path> files_of_folder(const DataOptions& options) {
  const fs::path& folder = options.path;
  std::vector<fs::path> paths;
  try {
    for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
      const std::string name = entry.path().filename().string();
      if (is_shard_name(name, extension_of(options)) && !entry.is_directory()) {
        paths.push_back(entry.path());
      }
    }
  } catch (const fs::filesystem_error& error) {
    throw IoError(fmt::format(
        "{}: the folder cannot be listed; check data.path: {}",
        folder.string(),
        error.code().message()));
  }
  if (paths.empty()) {
    throw IoError(fmt::format(
        "{}: the folder holds no *{} file, packed by gzip or zstd or not; check data.path and "
        "data.format",
        folder.string(),
        extension_of(options)));
  }
  return paths;
}

bool is_pattern(std::string_view path) {
  return path.find_first_of("*?[") != std::string_view::npos;
}

std::vector<fs::path> matches_of(const std::string& pattern) {
  glob_t found = {};
  const int status = ::glob(pattern.c_str(), GLOB_NOSORT | GLOB_ERR, nullptr, &found);
  const std::unique_ptr<glob_t, decltype(&::globfree)> owner(&found, ::globfree);
  if (status != 0 && status != GLOB_NOMATCH) {
    throw IoError(
        fmt::format("{}: a folder of the pattern cannot be listed; check data.path", pattern));
  }
  std::vector<fs::path> paths;
  for (std::size_t i = 0; i < found.gl_pathc; ++i) {
    std::error_code unreadable;
    if (!fs::is_directory(found.gl_pathv[i], unreadable)) paths.emplace_back(found.gl_pathv[i]);
  }
  if (paths.empty()) {
    throw IoError(fmt::format("{}: no file matches the pattern; check data.path", pattern));
  }
  return paths;
}

// The folder above the first part of the path that is a pattern.
fs::path fixed_folder_of(const fs::path& pattern) {
  fs::path folder;
  for (const fs::path& part : pattern.parent_path()) {
    if (is_pattern(part.string())) break;
    folder /= part;
  }
  return folder;
}

DatasetFiles shards(const std::vector<fs::path>& paths, const fs::path& folder) {
  DatasetFiles dataset{.files = {}, .are_shards = true};
  for (const fs::path& path : paths) {
    dataset.files.push_back({path, path.lexically_relative(folder).string()});
  }
  // std::string compares as unsigned bytes.
  std::ranges::sort(dataset.files, {}, &DatasetFile::name);
  return dataset;
}

}  // namespace

DatasetFiles find_dataset_files(const DataOptions& options) {
  const fs::path& path = options.path;
  std::error_code unreadable;
  if (fs::is_directory(path, unreadable)) return shards(files_of_folder(options), path);
  if (is_pattern(path.string()) && !fs::exists(path, unreadable)) {
    return shards(matches_of(path.string()), fixed_folder_of(path));
  }
  return {.files = {{path, path.filename().string()}}, .are_shards = false};
}

std::string dataset_fingerprint(const DataOptions& options) {
  const DatasetFiles dataset = find_dataset_files(options);
  if (!dataset.are_shards) return file_fingerprint(dataset.files.front().path);
  Fingerprint fingerprint;
  for (const DatasetFile& file : dataset.files) {
    fingerprint.add(file.name);
    fingerprint.add(file_fingerprint(file.path));
  }
  return fingerprint.text();
}

}  // namespace limn
