// How long ranks wait for each other.
#pragma once

#include <functional>
#include <limits>
#include <string>

namespace limn {

// What to do about partners that do not come to a collective.
struct Patience {
  double timeout_s = std::numeric_limits<double>::infinity();
  // Called on a thread of its own with a message that names the ranks that have not come, and their
  // nodes. It ends the job, for the rank that waits cannot go on.
  std::function<void(const std::string& message)> on_hang;
};

}  // namespace limn
