// Which limn this is.
#pragma once

#include <string_view>

namespace limn {

// "0.1.0".
std::string_view software_version();

}  // namespace limn
