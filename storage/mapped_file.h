// A file's bytes, mapped read-only.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

#include "storage/durable_file.h"

namespace limn {

// Owns: the mapping. Requires: nobody shortens the file meanwhile (reading what is gone ends the
// program, SIGBUS). Threads: immutable.
class MappedFile {
 public:
  // Throws IoError when the file is missing, cannot be read or is no regular file, naming it.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&&) noexcept;
  MappedFile& operator=(MappedFile&&) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return bytes_; }

  // Reads these bytes, as far as they are bytes of this file, into memory, so that who looks at
  // them next does not wait for the disk. Throws IoError, naming the file, when it has become too
  // short or can no longer be read: where that may happen, call it before looking. (Before
  // Linux 5.14 a disk that fails is not noticed here.)
  void fetch(std::span<const std::byte> bytes) const;

  // Gives the memory of these bytes, as far as they are bytes of this file, back to the system.
  // They stay readable: reading them again brings them back from the file.
  void release(std::span<const std::byte> bytes) const;

 private:
  bool holds(std::span<const std::byte> bytes) const;

  std::filesystem::path path_;
  FileDescriptor file_;
  std::span<const std::byte> bytes_;
};

}  // namespace limn
