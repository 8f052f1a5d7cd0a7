// Where the result of a run is.
#pragma once

#include <filesystem>

namespace limn {

// The relevance file that a person names: itself, or by its run directory. Throws DataError when
// the run is not complete or the folder no run directory; whether the file is there is not looked
// at.
std::filesystem::path find_result(const std::filesystem::path& run_or_file);

}  // namespace limn
