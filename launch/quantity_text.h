// Quantities as a person reads them: few digits and a unit.
#pragma once

#include <cstdint>
#include <string>

namespace limn {

// "57 s", "12 min", "5 h 40 min", "3 d 7 h". Requires: seconds >= 0.
std::string duration_text(double seconds);

// "870 rows/s", "12.3k rows/s".
std::string rate_text(double rows_per_second);

// "417 B", "12.3 MB": powers of 1000.
std::string bytes_text(std::int64_t bytes);

}  // namespace limn
