// "Did you mean": the known name that somebody most likely wanted to write.
#pragma once

#include <optional>
#include <span>
#include <string_view>

namespace limn {

// The candidate with the fewest slips (a letter too many, too few or wrong, or two neighbours
// swapped; upper and lower case and `-` for `_` are the same) from `name`, the first one among
// equals. Nothing if it takes more than one slip for every three letters of the longer name.
// Borrows: `candidates`, whose characters the result shows.
std::optional<std::string_view> nearest_name(
    std::string_view name, std::span<const std::string_view> candidates);

}  // namespace limn
