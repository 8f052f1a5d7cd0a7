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

std::vector<std::int64_t> stored_shape(const ShardRequest& request) {
  std::vector<std::int64_t> shape = request.shape;
  if (request.orientation == Orientation::InOut) std::ranges::reverse(shape);
  return shape;
}

at::Tensor slice_of(const at::Tensor& stored, const ShardRequest& request) {
  const at::Tensor tensor = request.orientation == Orientation::InOut ? stored.t() : stored;
  if (!request.dimension) return tensor;
  return tensor.narrow(*request.dimension, request.slice.begin, request.slice.size());
}

}  // namespace

const StoredTensor* ShardLoader::find(const ShardRequest& request) {
  requested_.insert(request.name);
  const StoredTensor* const stored = checkpoint_.find(request.name);
  if (stored == nullptr) {
    complaints_.push_back(fmt::format("{} is missing", request.name));
    return nullptr;
  }
  const std::vector<std::int64_t> expected = stored_shape(request);
  if (stored->shape != expected) {
    complaints_.push_back(fmt::format(
        "{} is [{}], expected [{}]",
        request.name,
        fmt::join(stored->shape, ", "),
        fmt::join(expected, ", ")));
    return nullptr;
  }
  return stored;
}

at::Tensor ShardLoader::load_joined(std::span<const ShardRequest> requests, at::ScalarType dtype) {
  std::vector<const StoredTensor*> stored;
  for (const ShardRequest& request : requests)
    stored.push_back(find(request));
  if (std::ranges::find(stored, nullptr) != stored.end()) return {};

  // A copy even where nothing is converted: the weights must not depend on the mapped file.
  at::Tensor joined = at::empty(joined_shape(requests), dtype);
  std::int64_t row = 0;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const at::Tensor slice = slice_of(borrow(*stored[i]), requests[i]);
    joined.narrow(0, row, slice.size(0)).copy_(slice);
    row += slice.size(0);
    checkpoint_.release(*stored[i]);
  }
  return joined;
}

void ShardLoader::throw_unless_exact(bool (*is_derived)(std::string_view)) const {
  std::vector<std::string> complaints = complaints_;
  for (const std::string& name : checkpoint_.names()) {
    if (requested_.contains(name) || is_derived(name)) continue;
    complaints.push_back(fmt::format("{} is not expected", name));
  }
  if (complaints.empty()) return;
  constexpr std::size_t kMostNamed = 10;
  const std::size_t count = complaints.size();
  complaints.resize(std::min(kMostNamed, count));
  throw DataError(fmt::format(
      "{}: the tensors are not those of a plain model of config.json's model_type; fetch the "
      "checkpoint again: {} in all: {}{}",
      checkpoint_.folder().string(),
      count,
      fmt::join(complaints, "; "),
      count > kMostNamed ? "; ..." : ""));
}

}  // namespace limn
