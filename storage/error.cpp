#include "storage/error.h"

#include <new>
#include <utility>

namespace limn {

FailureText failure_text(std::exception_ptr failure) {
  try {
    std::rethrow_exception(std::move(failure));
  } catch (const Error& error) {
    return {error.exit_code(), error.what()};
  } catch (const std::bad_alloc&) {
    return {ExitCode::Internal, "out of memory"};
  } catch (const std::exception& error) {
    return {ExitCode::Internal, error.what()};
  }
}

}  // namespace limn
