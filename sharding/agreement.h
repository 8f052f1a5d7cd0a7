// Ranks fail together.
#pragma once

#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

#include "sharding/communicator.h"
#include "storage/error.h"

namespace limn {

// Thrown on the ranks that have nothing to say because another one failed and says why.
class PeerError : public Error {
 public:
  explicit PeerError(ExitCode exit_code) : Error(exit_code, "another rank failed") {}
};

// Throws on every rank when `mine` is set on any: on the lowest such rank its own exception, on all
// others PeerError with that rank's exit code. Collective.
void throw_together(Communicator& ranks, std::exception_ptr mine);

// Runs a step of the set-up on every rank and returns its result; when it throws on one rank, all
// throw (see throw_together). `step` itself calls no collective of `ranks`. Collective.
template <typename Step>
std::invoke_result_t<Step> agree(Communicator& ranks, Step&& step) {
  std::exception_ptr failure;
  if constexpr (std::is_void_v<std::invoke_result_t<Step>>) {
    try {
      std::forward<Step>(step)();
    } catch (...) {
      failure = std::current_exception();
    }
    throw_together(ranks, failure);
  } else {
    std::optional<std::invoke_result_t<Step>> result;
    try {
      result.emplace(std::forward<Step>(step)());
    } catch (...) {
      failure = std::current_exception();
    }
    throw_together(ranks, failure);
    return *std::move(result);
  }
}

// What the rank `speaker` says, on every rank; what the others say is not heard. Collective.
bool told_by(Communicator& ranks, int speaker, bool said);

}  // namespace limn
