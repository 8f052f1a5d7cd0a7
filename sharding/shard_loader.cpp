#include "sharding/shard_loader.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include <ATen/ATen.h>
#include <c10/core/impl/VirtualGuardImpl.h>

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

// Bytes of the stored tensor among which the slice lies: its rows, or all where it is of columns.
std::span<const std::byte> bytes_around(const StoredTensor& stored, const ShardRequest& request) {
  const bool is_of_rows =
      request.dimension && *request.dimension == (request.orientation == Orientation::InOut);
  if (!is_of_rows || stored.bytes.empty()) return stored.bytes;
  const std::size_t row_bytes = stored.bytes.size() / static_cast<std::size_t>(stored.shape[0]);
  return stored.bytes.subspan(
      static_cast<std::size_t>(request.slice.begin) * row_bytes,
      static_cast<std::size_t>(request.slice.size()) * row_bytes);
}

}  // namespace

void StagedUpload::copy(const at::Tensor& from, const at::Tensor& to) {
  constexpr std::int64_t kPieceBytes = std::int64_t{64} << 20;
  if (from.numel() == 0) return;
  const std::int64_t row_bytes = to.nbytes() / to.size(0);
  const std::int64_t most_rows = std::max<std::int64_t>(kPieceBytes / row_bytes, 1);
  const c10::Stream stream = c10::impl::VirtualGuardImpl(device_.type()).getStream(device_);
  for (std::int64_t row = 0; row < from.size(0); row += most_rows) {
    const at::Tensor source = from.narrow(0, row, std::min(most_rows, from.size(0) - row));
    Piece& piece = pieces_[next_++ % pieces_.size()];
    const std::int64_t bytes = std::max(kPieceBytes, row_bytes);
    if (!piece.memory.defined() || piece.memory.numel() < bytes) {
      piece.memory = at::empty({bytes}, at::TensorOptions(at::kByte).pinned_memory(true));
    }
    piece.has_left.synchronize();
    const at::Tensor staged = piece.memory.narrow(0, 0, source.size(0) * row_bytes)
                                  .view(to.scalar_type())
                                  .view(source.sizes());
    staged.copy_(source);
    to.narrow(0, row, source.size(0)).copy_(staged, /*non_blocking=*/true);
    piece.has_left.record(stream);
  }
}

bool ShardLoader::expect_one(const ShardRequest& request) {
  requested_.insert(request.name);
  const StoredTensor* const stored = checkpoint_.find(request.name);
  if (stored == nullptr) {
    complaints_.push_back(fmt::format("{} is missing", request.name));
    return false;
  }
  const std::vector<std::int64_t> expected = stored_shape(request);
  if (stored->shape != expected) {
    complaints_.push_back(fmt::format(
        "{} is [{}], expected [{}]",
        request.name,
        fmt::join(stored->shape, ", "),
        fmt::join(expected, ", ")));
    return false;
  }
  return true;
}

bool ShardLoader::expect(std::span<const ShardRequest> requests) {
  bool are_there = true;
  for (const ShardRequest& request : requests)
    are_there = expect_one(request) && are_there;
  return are_there;
}

void ShardLoader::fetch(std::span<const ShardRequest> requests) const {
  for (const ShardRequest& request : requests)
    checkpoint_.fetch(bytes_around(*checkpoint_.find(request.name), request));
}

void ShardLoader::read_into(std::span<const ShardRequest> requests, const at::Tensor& to) {
  std::int64_t row = 0;
  for (const ShardRequest& request : requests) {
    const StoredTensor& stored = *checkpoint_.find(request.name);
    const at::Tensor slice = slice_of(borrow(stored), request);
    const at::Tensor place = to.narrow(0, row, slice.size(0));
    if (upload_) {
      upload_->copy(slice, place);
    } else {
      place.copy_(slice);
    }
    row += slice.size(0);
    checkpoint_.release(stored);
  }
}

at::Tensor ShardLoader::load_joined(std::span<const ShardRequest> requests, at::ScalarType dtype) {
  if (!expect(requests)) return {};
  // A copy even where nothing is converted: the weights must not depend on the mapped file.
  at::Tensor joined =
      at::empty(joined_shape(requests), at::TensorOptions().dtype(dtype).device(device_));
  read_into(requests, joined);
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
