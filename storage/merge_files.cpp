#include "storage/merge_files.h"

#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <deque>
#include <functional>
#include <string>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "storage/durable_file.h"
#include "storage/error.h"

namespace limn {

namespace {

namespace fs = std::filesystem;

// Two processes that write one temporary file would give its name to a mixture of both.
FileDescriptor lock_folder_of(const fs::path& result) {
  const fs::path folder = result.has_parent_path() ? result.parent_path() : fs::path(".");
  FileDescriptor lock(folder, O_RDONLY | O_DIRECTORY);
  // Some network file systems lock no folders: there a person must see to it.
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    throw IoError(fmt::format(
        "{}: another process merges files into this folder; wait for its end", folder.string()));
  }
  return lock;
}

// Hashes that are there more than once, ascending. Sorts them.
std::deque<std::size_t> repeated(std::deque<std::size_t>& hashes) {
  std::ranges::sort(hashes);
  std::deque<std::size_t> found;
  for (std::size_t i = 1; i < hashes.size(); ++i) {
    if (hashes[i] == hashes[i - 1]) found.push_back(hashes[i]);
  }
  return found;
}

// Ids of one hash are told apart by reading the files again: hardly ever, for hashes have 64 bits.
void check_ids_are_unique(const std::vector<fs::path>& files, std::deque<std::size_t> hashes) {
  const std::deque<std::size_t> suspects = repeated(hashes);
  if (suspects.empty()) return;
  std::unordered_map<std::string, const fs::path*> places;  // of the ids of these hashes
  for (const fs::path& file : files) {
    for (const std::string& id : RelevanceReader(file).sample_ids()) {
      if (!std::ranges::binary_search(suspects, std::hash<std::string>{}(id))) continue;
      const auto [earlier, is_new] = places.try_emplace(id, &file);
      if (is_new) continue;
      throw DataError(fmt::format(
          "{}: the id of a sample must be unique, but {} has it, too: {}",
          file.string(),
          earlier->second->string(),
          id));
    }
  }
}

}  // namespace

std::int64_t merge_files(
    const std::vector<fs::path>& files,
    const RelevanceAttributes& attributes,
    const fs::path& result) {
  const FileDescriptor lock = lock_folder_of(result);
  TemporaryFile temporary(result);
  RelevanceWriter writer(temporary.path(), attributes);
  std::deque<std::size_t> id_hashes;
  for (const fs::path& file : files) {
    const RelevanceReader reader(file);
    for (std::int64_t i = 0; i < reader.num_samples(); ++i) {
      const SampleRecord sample = reader.read(i);
      id_hashes.push_back(std::hash<std::string>{}(sample.id));
      writer.append(sample);
    }
  }
  const auto num_samples = static_cast<std::int64_t>(id_hashes.size());
  check_ids_are_unique(files, std::move(id_hashes));
  writer.close();
  temporary.rename();
  return num_samples;
}

}  // namespace limn
