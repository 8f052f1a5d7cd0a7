// Puts several relevance files together into one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "storage/relevance_file.h"

namespace limn {

// Writes all samples of `files`, one file after the other, into the relevance file `result`,
// durably and whole or not at all: what was there is replaced at the end. Returns how many samples
// there are. Memory: 8 bytes for each of them.
// Throws DataError when a file is damaged or two samples have one id (naming both places), IoError
// when `result` cannot be written or another process does so.
std::int64_t merge_files(
    const std::vector<std::filesystem::path>& files,
    const RelevanceAttributes& attributes,
    const std::filesystem::path& result);

}  // namespace limn
