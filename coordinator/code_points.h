// Unicode code points of UTF-8 text: limn's formats count characters as Python does.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace limn {

// The byte offset of every code point of `text`, and of its end: one more entry than code points.
// Throws DataError naming the first bad byte's offset when `text` is not valid UTF-8.
std::vector<std::int64_t> code_point_offsets(std::string_view text);

// The code points of `text`. Requires: it is valid UTF-8.
std::u32string code_points(std::string_view text);

// How many there are. Requires: `text` is valid UTF-8.
std::int32_t num_code_points(std::string_view text);

}  // namespace limn
