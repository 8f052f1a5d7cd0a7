// Fingerprints of content: equal for equal bytes, and in practice only for those.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace limn {

// An XXH3-128 that grows. Threads: one thread at a time.
class Fingerprint {
 public:
  Fingerprint();
  ~Fingerprint();
  Fingerprint(Fingerprint&&) noexcept;
  Fingerprint& operator=(Fingerprint&&) noexcept;

  void add(std::span<const std::byte> bytes);

  // Text and its length, so that two texts one after the other are not one.
  void add(std::string_view text);

  // "xxh3:" and 32 hexadecimal digits.
  std::string text() const;

  // The lower 64 bits of it, never 0.
  std::int64_t number() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// Of a file's bytes. Throws IoError.
std::string file_fingerprint(const std::filesystem::path& path);

}  // namespace limn
