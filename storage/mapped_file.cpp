#include "storage/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <utility>

#include <fmt/format.h>

#include "storage/durable_file.h"
#include "storage/error.h"

namespace limn {

MappedFile::MappedFile(const std::filesystem::path& path) {
  const FileDescriptor file(path, O_RDONLY);
  struct stat status = {};
  if (::fstat(file.get(), &status) != 0) throw_errno(path, "cannot be examined");
  if (!S_ISREG(status.st_mode)) {
    throw IoError(fmt::format("{}: is no regular file", path.string()));
  }
  // An empty file cannot be mapped; it has no bytes either.
  if (status.st_size == 0) return;
  const auto num_bytes = static_cast<std::size_t>(status.st_size);
  void* const begin = ::mmap(nullptr, num_bytes, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (begin == MAP_FAILED) throw_errno(path, "cannot be mapped");
  bytes_ = {static_cast<const std::byte*>(begin), num_bytes};
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

MappedFile::MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

void MappedFile::release(std::span<const std::byte> bytes) const {
  const std::byte* const file_end = bytes_.data() + bytes_.size();
  const bool is_inside =
      !bytes.empty() && bytes.data() >= bytes_.data() && bytes.data() + bytes.size() <= file_end;
  if (!is_inside) return;
  // Whole pages from the one of the first byte on; a mapping begins at a page.
  const auto page = static_cast<std::ptrdiff_t>(::sysconf(_SC_PAGESIZE));
  const std::ptrdiff_t begin = (bytes.data() - bytes_.data()) / page * page;
  const std::ptrdiff_t end = bytes.data() + bytes.size() - bytes_.data();
  // Advice: if it is not taken, nothing but memory is lost.
  ::madvise(
      const_cast<std::byte*>(bytes_.data() + begin),
      static_cast<std::size_t>(end - begin),
      MADV_DONTNEED);
}

}  // namespace limn
