// Merges what the parts of a run hold into one relevance file. Private to storage.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include <fmt/format.h>

#include "storage/error.h"
#include "storage/relevance_file.h"

namespace limn {

// The result of `read`, which reads the part at `path`. Damage is named together with its cure.
template <typename Read>
auto read_part(const std::filesystem::path& path, Read read) {
  try {
    return read();
  } catch (const Error& error) {
    // One that was removed since the start is an IoError of this process alone.
    const bool is_of_the_part =
        error.exit_code() == ExitCode::BadData || error.exit_code() == ExitCode::Io;
    if (!is_of_the_part) throw;
    throw DataError(fmt::format(
        "{}; start again, and limn sets the part aside and computes its batches again: {}",
        error.what(),
        path.string()));
  }
}

// Appends samples 0 to num_samples - 1 of the dataset, each from all the parts that hold something
// of it; what one part lacks comes from the next. Memory: 24 bytes for each sample of each part.
// Throws InternalError when a sample, or a unit or target of an Ok sample, is in no part, and
// DataError when a part is damaged.
void merge_parts(
    const std::vector<std::filesystem::path>& parts,
    std::int64_t num_samples,
    RelevanceWriter& writer);

}  // namespace limn
