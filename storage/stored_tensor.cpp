#include "storage/stored_tensor.h"

#include "storage/error.h"

namespace limn {

std::int64_t element_bytes(StoredDtype dtype) {
  switch (dtype) {
    case StoredDtype::Float64:
    case StoredDtype::Int64:
      return 8;
    case StoredDtype::Float32:
    case StoredDtype::Int32:
      return 4;
    case StoredDtype::Bfloat16:
    case StoredDtype::Float16:
      return 2;
    case StoredDtype::Uint8:
    case StoredDtype::Bool:
      return 1;
  }
  throw InternalError("element_bytes: no such element type");
}

std::optional<std::int64_t> tensor_bytes(std::span<const std::int64_t> shape, StoredDtype dtype) {
  std::int64_t bytes = element_bytes(dtype);
  for (const std::int64_t extent : shape) {
    if (__builtin_mul_overflow(bytes, extent, &bytes)) return std::nullopt;
  }
  return bytes;
}

}  // namespace limn
