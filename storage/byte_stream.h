// Files read once, from front to back, compressed or not.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

namespace limn {

// Threads: one thread at a time.
class ByteStream {
 public:
  virtual ~ByteStream() = default;

  // Fills the front of `buffer` and returns how much; 0 at the end only. Requires: a buffer that is
  // not empty. Throws IoError when the file cannot be read, DataError when it is a compressed one
  // that ends early or is damaged, naming it; what came before is what was packed.
  virtual std::size_t read(std::span<char> buffer) = 0;
};

// Opens a file that is not compressed, or by gzip or zstd, which its first bytes tell; several
// archives one after the other in a file are one, as for gunzip and unzstd. Memory: some hundred
// kilobytes, and the window of a zstd archive, 128 MB at most. Throws IoError, DataError when a
// file named .gz or .zst is no such archive.
std::unique_ptr<ByteStream> open_byte_stream(const std::filesystem::path& path);

// All of a file, unpacked. Throws what reading throws.
std::string read_whole_file(const std::filesystem::path& path);

// Cuts a stream into lines, holding one at a time. Threads: one thread at a time.
class LineReader {
 public:
  // Throws what open_byte_stream throws.
  explicit LineReader(const std::filesystem::path& path);

  // Moves `line` on to the next line, without its end. False behind the last one. Throws what
  // ByteStream::read throws.
  bool next(std::string& line);

 private:
  bool fill();

  std::unique_ptr<ByteStream> stream_;
  std::unique_ptr<char[]> buffer_;
  std::span<const char> rest_;  // of the buffer
};

}  // namespace limn
