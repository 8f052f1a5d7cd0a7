// What a reader takes for one character: a letter with its accents, a family of emoji.
#pragma once

#include <cstddef>
#include <string_view>

namespace limn {

// Where the extended grapheme cluster (UAX #29) that begins at `begin` ends. Requires: valid UTF-8,
// and `begin` is before its end where a cluster begins.
std::size_t end_of_grapheme(std::string_view text, std::size_t begin);

}  // namespace limn
