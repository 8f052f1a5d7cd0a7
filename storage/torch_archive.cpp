#include "storage/torch_archive.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "storage/error.h"
#include "storage/torch_pickle.h"
#include "storage/zip_archive.h"

namespace limn {

namespace {

// How torch before 1.6 began its files: the pickle of the number 0x1950a86a20f9469cfc6c.
constexpr std::array<unsigned char, 15> kOldMagic = {
    0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e};

std::optional<StoredDtype> stored_dtype(std::string_view name) {
  if (name == "float64") return StoredDtype::Float64;
  if (name == "float32") return StoredDtype::Float32;
  if (name == "bfloat16") return StoredDtype::Bfloat16;
  if (name == "float16") return StoredDtype::Float16;
  if (name == "int64") return StoredDtype::Int64;
  if (name == "int32") return StoredDtype::Int32;
  if (name == "uint8") return StoredDtype::Uint8;
  if (name == "bool") return StoredDtype::Bool;
  return std::nullopt;
}

void refuse_old_format(std::span<const std::byte> file, const std::string& where) {
  if (file.size() >= kOldMagic.size() &&
      std::memcmp(file.data(), kOldMagic.data(), kOldMagic.size()) == 0) {
    throw DataError(fmt::format(
        "{}: a file of torch before 1.6, which limn does not read; convert it to safetensors",
        where));
  }
}

// The members of an archive by their name without the folder that they all share.
class TorchMembers {
 public:
  TorchMembers(std::span<const std::byte> file, const std::string& where) : where_(where) {
    const std::vector<ZipMember> members = zip_members(file, where);
    if (members.empty()) refuse("holds nothing");
    const std::string_view folder =
        members.front().name.substr(0, members.front().name.find('/') + 1);
    for (const ZipMember& member : members) {
      if (!member.name.starts_with(folder)) continue;
      if (!members_.emplace(member.name.substr(folder.size()), member.bytes).second) {
        throw DataError(fmt::format("{}: has a member twice: {}", where, member.name));
      }
    }
  }

  std::span<const std::byte> pickle() const {
    const auto found = members_.find("data.pkl");
    if (found == members_.end()) refuse("has no data.pkl");
    return found->second;
  }

  std::span<const std::byte> storage_of(const PickledTensor& tensor) const {
    const auto found = members_.find("data/" + tensor.storage);
    if (found == members_.end()) {
      throw DataError(fmt::format(
          "{}: the storage of a tensor is missing; fetch it again: {}", where_, tensor.name));
    }
    return found->second;
  }

  void check_byte_order() const {
    const auto found = members_.find("byteorder");
    if (found == members_.end()) return;  // torch before 2.1
    constexpr std::string_view kLittle = "little";
    const auto order = found->second;
    if (order.size() != kLittle.size() ||
        std::memcmp(order.data(), kLittle.data(), kLittle.size()) != 0) {
      throw DataError(fmt::format(
          "{}: must have its bytes in the order 'little'; convert it to safetensors", where_));
    }
  }

 private:
  [[noreturn]] void refuse(std::string_view problem) const {
    throw DataError(fmt::format("{}: no file of torch.save: {}", where_, problem));
  }

  const std::string& where_;
  std::map<std::string, std::span<const std::byte>, std::less<>> members_;
};

bool is_empty(const PickledTensor& tensor) {
  return std::ranges::find(tensor.shape, 0) != tensor.shape.end();
}

// One more than the last element of the storage that the tensor touches, or nothing when that is
// more than memory can ever hold.
std::optional<std::int64_t> storage_end(const PickledTensor& tensor) {
  if (is_empty(tensor)) return 0;  // wherever it begins: x[2:, 3:] of two rows of three
  std::int64_t last = tensor.storage_offset;
  for (std::size_t dim = 0; dim < tensor.shape.size(); ++dim) {
    std::int64_t reach = 0;
    if (__builtin_mul_overflow(tensor.shape[dim] - 1, tensor.strides[dim], &reach) ||
        __builtin_add_overflow(last, reach, &last)) {
      return std::nullopt;
    }
  }
  std::int64_t end = 0;
  if (__builtin_add_overflow(last, 1, &end)) return std::nullopt;
  return end;
}

// Requires: the tensor's bytes can be counted. The stride of an extent of 1 is never used.
bool is_row_major(const PickledTensor& tensor) {
  std::int64_t expected = 1;
  for (std::size_t dim = tensor.shape.size(); dim-- > 0;) {
    if (tensor.shape[dim] != 1 && tensor.strides[dim] != expected) return false;
    expected *= tensor.shape[dim];
  }
  return true;
}

// Requires: all elements lie in the storage.
std::vector<std::byte> rearrange(
    const PickledTensor& tensor,
    std::span<const std::byte> storage,
    std::int64_t num_bytes,
    std::int64_t element_size) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(num_bytes));
  std::vector<std::int64_t> index(tensor.shape.size(), 0);
  std::int64_t from = tensor.storage_offset;
  for (std::int64_t to = 0; to < num_bytes; to += element_size) {
    std::memcpy(&bytes[to], &storage[from * element_size], element_size);
    // Counts the index up, the last dimension first.
    for (std::size_t dim = index.size(); dim-- > 0;) {
      if (index[dim] + 1 < tensor.shape[dim]) {
        ++index[dim];
        from += tensor.strides[dim];
        break;
      }
      from -= index[dim] * tensor.strides[dim];
      index[dim] = 0;
    }
  }
  return bytes;
}

FileTensor refused(const PickledTensor& tensor, std::string refusal) {
  FileTensor read;
  read.name = tensor.name;
  read.refusal = std::move(refusal);
  return read;
}

FileTensor read_tensor(
    const PickledTensor& tensor, const TorchMembers& members, const std::string& where) {
  const auto dtype = stored_dtype(tensor.dtype);
  if (!dtype) {
    return refused(
        tensor,
        fmt::format(
            "{}: a tensor's type is not supported: {}: {}", where, tensor.name, tensor.dtype));
  }
  const std::span<const std::byte> storage = members.storage_of(tensor);
  const std::int64_t element_size = element_bytes(*dtype);
  const std::int64_t num_stored = static_cast<std::int64_t>(storage.size()) / element_size;
  const auto end = storage_end(tensor);
  if (!end || *end > num_stored) {
    throw DataError(fmt::format(
        "{}: a tensor reaches past the end of its storage; fetch it again: {}",
        where,
        tensor.name));
  }
  const auto num_bytes = tensor_bytes(tensor.shape, *dtype);
  if (!num_bytes || *num_bytes > static_cast<std::int64_t>(storage.size())) {
    return refused(
        tensor,
        fmt::format(
            "{}: a tensor has more elements than are stored; save its contiguous(): {}",
            where,
            tensor.name));
  }
  FileTensor read;
  read.name = tensor.name;
  if (is_empty(tensor)) {
    read.tensor = StoredTensor{*dtype, tensor.shape, storage.first(0)};
  } else if (is_row_major(tensor)) {
    read.tensor = StoredTensor{
        *dtype, tensor.shape, storage.subspan(tensor.storage_offset * element_size, *num_bytes)};
  } else {
    read.rearranged = rearrange(tensor, storage, *num_bytes, element_size);
    read.tensor = StoredTensor{*dtype, tensor.shape, read.rearranged};
  }
  return read;
}

}  // namespace

std::vector<FileTensor> read_torch_archive(
    std::span<const std::byte> file, const std::string& where) {
  refuse_old_format(file, where);
  const TorchMembers members(file, where);
  members.check_byte_order();
  std::vector<FileTensor> tensors;
  for (const PickledTensor& tensor : read_state_dict(members.pickle(), where + " (data.pkl)"))
    tensors.push_back(read_tensor(tensor, members, where));
  return tensors;
}

}  // namespace limn
