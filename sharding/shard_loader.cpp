#include "sharding/shard_loader.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include <ATen/ATen.h>

#include "storage/error.h"

namespace limn {

namespace {

at::ScalarType scalar_type_of(StoredDtype dtype) {
  switch (dtype) {
    case StoredDtype::Float64:
      return at::kDouble;
    case StoredDtype::Float32:
      return at::kFloat;
    case StoredDtype::Bfloat16:
      return at::kBFloat16;
    case StoredDtype::Float16:
      return at::kHalf;
    case StoredDtype::Int64:
      return at::kLong;
    case StoredDtype::Int32:
      return at::kInt;
    case StoredDtype::Uint8:
      return at::kByte;
    case StoredDtype::Bool:
      return at::kBool;
  }
  throw InternalError("a stored dtype without a scalar type");
}

// The mapped bytes as a tensor that borrows them. safetensors aligns its data only if the writer
// cared.
at::Tensor borrow(const StoredTensor& stored) {
  const auto options = at::TensorOptions().dtype(scalar_type_of(stored.dtype));
  const auto address = reinterpret_cast<std::uintptr_t>(stored.bytes.data());
  if (address % static_cast<std::uintptr_t>(element_bytes(stored.dtype)) == 0) {
    // ATen has no tensor of const data; nobody writes to this one.
    return at::from_blob(const_cast<std::byte*>(stored.bytes.data()), stored.shape, options);
  }
  at::Tensor aligned = at::empty(stored.shape, options);
  std::memcpy(aligned.data_ptr(), stored.bytes.data(), stored.bytes.size());
  return aligned;
}

at::Tensor sliced(const at::Tensor& whole, Placement placement, const Slice& slice) {
  switch (placement) {
    case Placement::Whole:
      return whole;
    case Placement::Column:
      return whole.narrow(0, slice.begin, slice.size());
    case Placement::Row:
      return whole.narrow(1, slice.begin, slice.size());
  }
  throw InternalError("a placement without a slice");
}

}  // namespace

at::Tensor ShardLoader::load(const ShardRequest& request) {
  const StoredTensor* const stored = checkpoint_.find(request.name);
  if (stored == nullptr) {
    complaints_.push_back(fmt::format("{} is missing", request.name));
    return {};
  }
  if (stored->shape != request.shape) {
    complaints_.push_back(fmt::format(
        "{} is [{}], expected [{}]",
        request.name,
        fmt::join(stored->shape, ", "),
        fmt::join(request.shape, ", ")));
    return {};
  }
  const at::Tensor slice = sliced(borrow(*stored), request.placement, request.slice);
  // A copy even where nothing is converted: the weights must not depend on the mapped file.
  return slice.to(dtype_, /*non_blocking=*/false, /*copy=*/true).contiguous();
}

void ShardLoader::throw_if_incomplete() const {
  if (complaints_.empty()) return;
  constexpr std::size_t kMostNamed = 10;
  const std::size_t named = std::min(kMostNamed, complaints_.size());
  throw DataError(fmt::format(
      "{}: the tensors do not fit config.json; fetch the checkpoint again: {} in all: {}{}",
      checkpoint_.folder().string(),
      complaints_.size(),
      fmt::join(
          complaints_.begin(), complaints_.begin() + static_cast<std::ptrdiff_t>(named), "; "),
      named < complaints_.size() ? "; ..." : ""));
}

}  // namespace limn
