#include "storage/durable_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <string>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "storage/error.h"

namespace limn {

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

namespace {

constexpr std::string_view kTemporarySuffix = ".tmp";

std::filesystem::path temporary_path(const std::filesystem::path& path, std::string_view tag) {
  const std::string name = path.filename().string();
  return path.parent_path() /
         fmt::format(".{}{}{}{}", name, tag.empty() ? "" : ".", tag, kTemporarySuffix);
}

}  // namespace

TemporaryFile::TemporaryFile(const std::filesystem::path& final_path, std::string_view tag)
    : final_path_(final_path),
      path_(temporary_path(final_path, tag)) {}

TemporaryFile::~TemporaryFile() {
  if (!renamed_) ::unlink(path_.c_str());
}

void TemporaryFile::rename(Durability durability) {
  if (durability == Durability::Disk) {
    rename_durably(path_, final_path_);
  } else if (std::rename(path_.c_str(), final_path_.c_str()) != 0) {
    throw_errno(final_path_, "cannot be given its name");
  }
  renamed_ = true;
}

bool is_temporary(const std::filesystem::path& path) {
  const std::string name = path.filename().string();
  return name.starts_with('.') && name.ends_with(kTemporarySuffix);
}

void write_durably(const std::filesystem::path& path, std::string_view text) {
  TemporaryFile temporary(path);
  write_text(FileDescriptor(temporary.path(), O_WRONLY | O_CREAT), temporary.path(), text);
  sync_file(temporary.path());
  temporary.rename();
}

void create_folder(const std::filesystem::path& folder) {
  std::error_code code;
  const bool is_new = std::filesystem::create_directories(folder, code);
  if (code || !std::filesystem::is_directory(folder, code)) {
    throw IoError(fmt::format(
        "{}: the folder cannot be created: {}",
        folder.string(),
        code ? code.message() : "a file is in its place"));
  }
  if (is_new && folder.has_parent_path()) sync_folder(folder.parent_path());
}

std::vector<std::filesystem::path> list_folder(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> paths;
  try {
    for (const auto& entry : std::filesystem::directory_iterator(folder))
      paths.push_back(entry.path());
  } catch (const std::filesystem::filesystem_error& error) {
    throw IoError(fmt::format("{}: cannot be listed: {}", folder.string(), error.code().message()));
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

void remove_file(const std::filesystem::path& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) throw_errno(path, "cannot be removed");
}

}  // namespace limn
