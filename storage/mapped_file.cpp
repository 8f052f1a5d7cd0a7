#include "storage/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <utility>

#include <fmt/format.h>

#include "storage/error.h"

namespace limn {

namespace {

struct stat status_of(const FileDescriptor& file, const std::filesystem::path& path) {
  struct stat status = {};
  if (::fstat(file.get(), &status) != 0) throw_errno(path, "cannot be examined");
  return status;
}

// madvise(2) on the whole pages of these bytes of a mapping that begins at `mapping`.
int advise(const std::byte* mapping, std::span<const std::byte> bytes, int advice) {
  const auto page = static_cast<std::ptrdiff_t>(::sysconf(_SC_PAGESIZE));
  const std::ptrdiff_t begin = (bytes.data() - mapping) / page * page;
  const std::ptrdiff_t end = bytes.data() + bytes.size() - mapping;
  return ::madvise(
      const_cast<std::byte*>(mapping + begin), static_cast<std::size_t>(end - begin), advice);
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path), file_(path, O_RDONLY) {
  const struct stat status = status_of(file_, path);
  if (!S_ISREG(status.st_mode)) {
    throw IoError(fmt::format("{}: is no regular file", path.string()));
  }
  // An empty file cannot be mapped; it has no bytes either.
  if (status.st_size == 0) return;
  const auto num_bytes = static_cast<std::size_t>(status.st_size);
  void* const begin = ::mmap(nullptr, num_bytes, PROT_READ, MAP_PRIVATE, file_.get(), 0);
  if (begin == MAP_FAILED) throw_errno(path, "cannot be mapped");
  bytes_ = {static_cast<const std::byte*>(begin), num_bytes};
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      file_(std::move(other.file_)),
      bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(file_, other.file_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

bool MappedFile::holds(std::span<const std::byte> bytes) const {
  const std::byte* const file_end = bytes_.data() + bytes_.size();
  return !bytes.empty() && bytes.data() >= bytes_.data() && bytes.data() + bytes.size() <= file_end;
}

void MappedFile::fetch(std::span<const std::byte> bytes) const {
  if (!holds(bytes)) return;
  const std::int64_t end = bytes.data() + bytes.size() - bytes_.data();
  const std::int64_t left = status_of(file_, path_).st_size;
  if (left < end) {
    throw IoError(fmt::format(
        "{}: has become shorter since it was opened; fetch it again: {} of {} bytes",
        path_.string(),
        left,
        bytes_.size()));
  }
  if (advise(bytes_.data(), bytes, MADV_POPULATE_READ) == 0) return;
  // Looking at the bytes would end the program. Any other error only says that the system does not
  // know this advice, or has no memory to follow it.
  if (errno == EFAULT || errno == EHWPOISON) {
    throw IoError(fmt::format(
        "{}: can no longer be read; look after its disk or fetch it again", path_.string()));
  }
}

void MappedFile::release(std::span<const std::byte> bytes) const {
  // Advice: if it is not taken, nothing but memory is lost.
  if (holds(bytes)) advise(bytes_.data(), bytes, MADV_DONTNEED);
}

}  // namespace limn
