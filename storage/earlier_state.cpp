#include "storage/earlier_state.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>

#include <fmt/format.h>

#include "storage/durable_file.h"

namespace limn {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFolderPrefix = "earlier-";

// While this is behind a folder's name, its state lies half there and half in RUN.
constexpr std::string_view kMovingSuffix = ".moving";

constexpr const char* kResult = "relevance.h5";
constexpr const char* kResultChecksum = "relevance.h5.xxh3";

// The log, the lock and the epochs are the directory's, not the state's.
constexpr std::array kState = {
    "parts", "targets.jsonl", kResult, kResultChecksum, "damaged-relevance.h5", "manifest.json"};

bool is_there(const fs::path& path) {
  std::error_code unreadable;
  return fs::exists(fs::symlink_status(path, unreadable));
}

fs::path next_folder(const fs::path& run) {
  std::int64_t highest = 0;
  for (const fs::path& path : list_folder(run)) {
    const std::string name = path.filename().string();
    if (!name.starts_with(kFolderPrefix)) continue;
    std::int64_t number = 0;
    std::from_chars(name.data() + kFolderPrefix.size(), name.data() + name.size(), number);
    highest = std::max(highest, number);
  }
  return run / fmt::format("{}{:03}", kFolderPrefix, highest + 1);
}

// Renames it into the folder if it is there.
void move_into(const fs::path& folder, const fs::path& path) {
  if (!is_there(path)) return;
  rename_durably(path, folder / path.filename());
  sync_folder(path.parent_path());
}

void finish_moving_into(const fs::path& moving) {
  for (const char* name : kState)
    move_into(moving, moving.parent_path() / name);
  fs::path folder = moving;
  rename_durably(moving, folder.replace_extension());
}

}  // namespace

std::optional<fs::path> move_state_aside(const fs::path& run) {
  const bool has_state =
      std::ranges::any_of(kState, [&](const char* name) { return is_there(run / name); });
  if (!has_state) return std::nullopt;
  const fs::path folder = next_folder(run);
  fs::path moving = folder;
  moving += kMovingSuffix;
  // From here on the earlier state is given up, whoever ends it.
  create_folder(moving);
  finish_moving_into(moving);
  return folder;
}

std::optional<fs::path> finish_moving(const fs::path& run) {
  for (const fs::path& path : list_folder(run)) {
    const std::string name = path.filename().string();
    if (!name.starts_with(kFolderPrefix) || !name.ends_with(kMovingSuffix)) continue;
    finish_moving_into(path);
    fs::path folder = path;
    return folder.replace_extension();
  }
  return std::nullopt;
}

std::optional<fs::path> move_result_aside(const fs::path& run) {
  if (!is_there(run / kResult)) return std::nullopt;
  const fs::path folder = next_folder(run);
  create_folder(folder);
  move_into(folder, run / kResult);
  move_into(folder, run / kResultChecksum);
  return folder;
}

}  // namespace limn
