// Files that are on disk for good once a call returns: descriptors, sync and atomic replacement.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>
#include <vector>

namespace limn {

// Owns: an open file. Move-only.
class FileDescriptor {
 public:
  // Opens with the flags of open(2); O_CLOEXEC is always added. Throws IoError.
  FileDescriptor(const std::filesystem::path& path, int flags);
  ~FileDescriptor();
  FileDescriptor(FileDescriptor&& other) noexcept;
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;

  int get() const { return descriptor_; }

 private:
  int descriptor_;
};

// Throws IoError for what the system call that just failed left in errno; `problem` reads like
// "cannot be opened".
[[noreturn]] void throw_errno(const std::filesystem::path& path, std::string_view problem);

// Writes all of `text` from the beginning of the file. Throws IoError.
void write_text(
    const FileDescriptor& file, const std::filesystem::path& path, std::string_view text);

// Cuts the file, or fills it up with zeros, to `size` bytes. Throws IoError.
void truncate(const FileDescriptor& file, const std::filesystem::path& path, std::int64_t size);

// Writes all of `text` at `offset`, behind which the file goes on as it was. Throws IoError.
void write_at(
    const FileDescriptor& file,
    const std::filesystem::path& path,
    std::int64_t offset,
    std::string_view text);

// Waits until the file's bytes are on disk. Throws IoError.
void sync(const FileDescriptor& file, const std::filesystem::path& path);

// Waits until the file's bytes, or the folder's entries, are on disk. Throws IoError.
void sync_file(const std::filesystem::path& path);
void sync_folder(const std::filesystem::path& folder);

// Gives the synced file or folder `from` the name `to` of the same folder, replacing what was
// there. After a crash `to` is either the old or the new file. Throws IoError.
void rename_durably(const std::filesystem::path& from, const std::filesystem::path& to);

// What a file must survive: the end of the process, or of the machine.
enum class Durability { ProcessAlone, Disk };

// A file under construction: .NAME.tmp, or .NAME.TAG.tmp, beside where it is to be. Removes what is
// there of it unless it was given its name.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::filesystem::path& final_path, std::string_view tag = "");
  ~TemporaryFile();
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  const std::filesystem::path& path() const { return path_; }

  // Requires: the file is synced to disk, unless the name need not outlive a loss of power. Throws
  // IoError.
  void rename(Durability durability = Durability::Disk);

 private:
  std::filesystem::path final_path_;
  std::filesystem::path path_;
  bool renamed_ = false;
};

// Whether it is named like a TemporaryFile.
bool is_temporary(const std::filesystem::path& path);

// Writes a file whole or not at all, replacing what was there. Throws IoError.
void write_durably(const std::filesystem::path& path, std::string_view text);

// Creates the folder and its parents where they are missing. Throws IoError.
void create_folder(const std::filesystem::path& folder);

// What is in the folder, in the order of the names. Throws IoError.
std::vector<std::filesystem::path> list_folder(const std::filesystem::path& folder);

// Removes the file if it is there. Throws IoError.
void remove_file(const std::filesystem::path& path);

}  // namespace limn
