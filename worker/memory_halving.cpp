#include "worker/memory_halving.h"

#include <new>
#include <string_view>

#include <c10/util/Exception.h>

#include "storage/error.h"

namespace limn {

bool is_out_of_memory(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const std::bad_alloc&) {
    return true;
  } catch (const c10::OutOfMemoryError&) {  // of a GPU
    return true;
  } catch (const c10::Error& error) {
    // ATen has no type of error for it on CPUs.
    return std::string_view(error.what_without_backtrace()).find("DefaultCPUAllocator") !=
           std::string_view::npos;
  } catch (...) {
    return false;
  }
}

void throw_does_not_fit() {
  throw InternalError(
      "there is too little memory even for one perturbation; start fewer ranks on a node, or more "
      "with a larger parallel.tensor_parallel, or leave the sample out (data.sample_ids)");
}

}  // namespace limn
