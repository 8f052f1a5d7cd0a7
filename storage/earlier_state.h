// What a run directory held before its run was begun anew: kept in RUN/earlier-NNN. Private to
// storage.
#pragma once

#include <filesystem>
#include <optional>

namespace limn {

// Moves all that was computed, and what says of what, from RUN to RUN/earlier-NNN, the next number
// that is free. Returns that folder; nothing if there was nothing to move. Killed at any moment it
// has either not begun, or finish_moving() ends it. Throws IoError.
std::optional<std::filesystem::path> move_state_aside(const std::filesystem::path& run);

// Ends what a start that was killed in move_state_aside() began. To be called before anything in
// RUN is looked at. The folder, if there was such a start. Throws IoError.
std::optional<std::filesystem::path> finish_moving(const std::filesystem::path& run);

// Moves RUN/relevance.h5 alone to a new RUN/earlier-NNN, if it is there. Throws IoError.
std::optional<std::filesystem::path> move_result_aside(const std::filesystem::path& run);

}  // namespace limn
