#include "launch/version.h"

namespace limn {

std::string_view software_version() {
  return LIMN_VERSION;
}

}  // namespace limn
