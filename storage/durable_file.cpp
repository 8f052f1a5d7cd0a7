#include "storage/durable_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <string>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "storage/error.h"

namespace limn {

namespace {

constexpr std::string_view kTemporarySuffix = ".tmp";

}  // namespace

FileDescriptor::FileDescriptor(const std::filesystem::path& path, int flags)
    : descriptor_(::open(path.c_str(), flags | O_CLOEXEC, 0666)) {
  if (descriptor_ < 0) throw_errno(path, "cannot be opened");
}

FileDescriptor::~FileDescriptor() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

FileDescriptor::FileDescriptor(FileDescriptor&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)) {}

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

void throw_errno(const std::filesystem::path& path, std::string_view problem) {
  const std::error_code code(errno, std::generic_category());
  throw IoError(fmt::format("{}: {}: {}", path.string(), problem, code.message()));
}

void write_text(
    const FileDescriptor& file, const std::filesystem::path& path, std::string_view text) {
  truncate(file, path, 0);
  write_at(file, path, 0, text);
}

void truncate(const FileDescriptor& file, const std::filesystem::path& path, std::int64_t size) {
  if (::ftruncate(file.get(), size) != 0) throw_errno(path, "cannot be truncated");
}

void write_at(
    const FileDescriptor& file,
    const std::filesystem::path& path,
    std::int64_t offset,
    std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::pwrite(file.get(), text.data(), text.size(), offset);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw_errno(path, "cannot be written");
    text.remove_prefix(static_cast<std::size_t>(written));
    offset += written;
  }
}

void sync_file(const std::filesystem::path& path) {
  sync(FileDescriptor(path, O_RDONLY), path);
}

void sync(const FileDescriptor& file, const std::filesystem::path& path) {
  if (::fsync(file.get()) != 0) throw_errno(path, "cannot be synced to disk");
}

void sync_folder(const std::filesystem::path& folder) {
  const FileDescriptor file(folder, O_RDONLY | O_DIRECTORY);
  // EINVAL: a file system whose folders need no sync, and have none.
  if (::fsync(file.get()) != 0 && errno != EINVAL) throw_errno(folder, "cannot be synced to disk");
}

void rename_durably(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (std::rename(from.c_str(), to.c_str()) != 0) throw_errno(to, "cannot be given its name");
  sync_folder(to.has_parent_path() ? to.parent_path() : std::filesystem::path("."));
}

TemporaryFile::TemporaryFile(const std::filesystem::path& final_path)
    : final_path_(final_path),
      path_(
          final_path.parent_path() /
          fmt::format(".{}{}", final_path.filename().string(), kTemporarySuffix)) {}

TemporaryFile::~TemporaryFile() {
  if (!renamed_) ::unlink(path_.c_str());
}

void TemporaryFile::rename() {
  rename_durably(path_, final_path_);
  renamed_ = true;
}

bool is_temporary(const std::filesystem::path& path) {
  const std::string name = path.filename().string();
  return name.starts_with('.') && name.ends_with(kTemporarySuffix);
}

}  // namespace limn
