// Ranks fail together.
#pragma once

#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

#include "sharding/communicator.h"
#include "storage/error.h"

namespace limn {

// What every rank throws when one of them failed: all leave the set-up together, in order. Only one
// of them, the lowest that failed, has something to say.
class AgreedError : public Error {
 public:
  AgreedError(const FailureText& failure, bool speaks)
      : Error(failure.exit_code, failure.message),
        speaks_(speaks) {}

  // Whether the message is this rank's own failure, and for this rank to tell.
  bool speaks() const { return speaks_; }

 private:
  bool speaks_;
};

// Throws AgreedError on every rank when `mine` is set on any. Collective.
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
