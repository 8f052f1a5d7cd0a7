#include "coordinator/dataset_files.h"

#include <glob.h>

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <memory>
#include <string_view>
#include <system_error>

#include <fmt/format.h>

#include "storage/error.h"
#include "storage/fingerprint.h"
#include "storage/mapped_file.h"

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

DatasetContents dataset_contents(const DataOptions& options) {
  const DatasetFiles dataset = find_dataset_files(options);
  DatasetContents contents;
  for (const DatasetFile& file : dataset.files) {
    const MappedFile mapped(file.path);
    Fingerprint fingerprint;
    fingerprint.add(mapped.bytes());
    contents.files.push_back(
        {.name = dataset.are_shards ? file.name : "",
         .bytes = std::ssize(mapped.bytes()),
         .fingerprint = fingerprint.text()});
  }
  contents.fingerprint = contents.files.front().fingerprint;
  if (!dataset.are_shards) return contents;
  Fingerprint together;
  for (const DatasetFileContent& file : contents.files) {
    together.add(file.name);
    together.add(file.fingerprint);
  }
  contents.fingerprint = together.text();
  return contents;
}

namespace {

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

bool is_compressed(std::string_view name, std::string_view bytes) {
  return name.ends_with(".gz") || name.ends_with(".zst") || bytes.starts_with("\x1F\x8B") ||
         bytes.starts_with("\x28\xB5\x2F\xFD");
}

// Whether a line ends where the file did.
bool ends_a_line(std::string_view bytes, std::size_t end) {
  return end == 0 || bytes[end - 1] == '\n' || bytes.substr(end).starts_with("\n") ||
         bytes.substr(end).starts_with("\r\n");
}

enum class MayGrow { No, Yes };

std::optional<std::string> objection_to_file(
    const DataOptions& options,
    const DatasetFile& file,
    const DatasetFileContent& earlier,
    MayGrow may_grow) {
  const MappedFile mapped(file.path);
  const auto size = static_cast<std::size_t>(earlier.bytes);
  const auto object = [&](std::string_view what) {
    return fmt::format("{}: {}", file.path.string(), what);
  };
  if (mapped.bytes().size() < size) return object("shorter than it was");
  Fingerprint fingerprint;
  fingerprint.add(mapped.bytes().first(size));
  if (fingerprint.text() != earlier.fingerprint)
    return object(fmt::format("not what it was in its first {} bytes", size));
  const std::string_view bytes = text_of(mapped.bytes());
  if (bytes.size() == size) return std::nullopt;
  if (may_grow == MayGrow::No) return object("longer than it was, but not the last file");
  if (options.format == "squad")
    return object("a SQuAD file that has grown; new questions go into a file behind it");
  if (is_compressed(file.name, bytes))
    return object("a compressed file that has grown; new records go into a file behind it");
  if (!ends_a_line(bytes, size)) return object("its last line goes on now");
  return std::nullopt;
}

}  // namespace

std::optional<std::string> objection_to_growth(
    const DataOptions& options, std::span<const DatasetFileContent> earlier) {
  const DatasetFiles dataset = find_dataset_files(options);
  const std::string where = options.path.string();
  const bool were_shards = !earlier.empty() && !earlier.front().name.empty();
  if (dataset.are_shards != were_shards) {
    return fmt::format(
        "{}: {}",
        where,
        were_shards ? "was a folder or a pattern, and is a file" : "was a file, and is more");
  }
  for (std::size_t i = 0; i < earlier.size(); ++i) {
    const std::string& name = earlier[i].name;
    if (i == dataset.files.size() || (were_shards && dataset.files[i].name > name))
      return fmt::format("{}: a file is not there any more: {}", where, name);
    if (were_shards && dataset.files[i].name < name) {
      return fmt::format(
          "{}: a new file stands before those that were there: {}", where, dataset.files[i].name);
    }
    const MayGrow may_grow = i + 1 == earlier.size() ? MayGrow::Yes : MayGrow::No;
    if (auto objection = objection_to_file(options, dataset.files[i], earlier[i], may_grow))
      return objection;
  }
  return std::nullopt;
}

}  // namespace limn
