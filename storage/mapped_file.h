// A file's bytes, mapped read-only.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

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

  // Gives the memory of these bytes, as far as they are bytes of this file, back to the system.
  // They stay readable: reading them again brings them back from the file.
  void release(std::span<const std::byte> bytes) const;

 private:
  std::span<const std::byte> bytes_;
};

}  // namespace limn
