#include "storage/file_checksum.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <fstream>
#include <iterator>
#include <span>
#include <string_view>
#include <system_error>
#include <vector>

#include <fmt/format.h>

#include "storage/durable_file.h"
#include "storage/error.h"
#include "storage/fingerprint.h"

namespace limn {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSuffix = ".xxh3";
constexpr std::size_t kDigits = 32;

// Large enough to keep a disk busy, small enough for the processor's cache.
constexpr std::size_t kBlockBytes = 1 << 20;

struct Checksum {
  std::string digits;
  int error = 0;  // errno of what failed; then there are no digits
};

// Read, not mapped: a mapped file that cannot be read ends the process.
Checksum checksum_of(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return {.digits = {}, .error = errno};
  std::vector<std::byte> block(kBlockBytes);
  Fingerprint fingerprint;
  ssize_t length = 0;
  do {
    length = ::read(descriptor, block.data(), block.size());
    if (length > 0) fingerprint.add(std::span(block).first(static_cast<std::size_t>(length)));
  } while (length > 0 || (length < 0 && errno == EINTR));
  const int error = length < 0 ? errno : 0;
  ::close(descriptor);
  if (error != 0) return {.digits = {}, .error = error};
  const std::string text = fingerprint.text();
  return {.digits = text.substr(text.size() - kDigits), .error = 0};
}

std::string line_of(const std::string& digits, const std::filesystem::path& file) {
  return fmt::format("{}  {}\n", digits, file.filename().string());
}

// The digits that are kept of a file under whatever name it had; empty: none are.
std::string kept_digits(const std::filesystem::path& file) {
  std::ifstream stream(checksum_path(file), std::ios::binary);
  const std::string line{std::istreambuf_iterator<char>(stream), {}};
  const std::string digits = line.substr(0, kDigits);
  const bool is_whole = line.size() > kDigits + 2 && line.ends_with('\n') &&
                        digits.find_first_not_of("0123456789abcdef") == std::string::npos;
  return is_whole ? digits : "";
}

}  // namespace

std::filesystem::path checksum_path(const std::filesystem::path& file) {
  std::filesystem::path path = file;
  return path += kSuffix;
}

bool is_checksum(const std::filesystem::path& path) {
  return path.filename().string().ends_with(kSuffix) && !is_temporary(path);
}

void write_checksum(const std::filesystem::path& file) {
  const Checksum checksum = checksum_of(file);
  if (checksum.error != 0) {
    errno = checksum.error;
    throw_errno(file, "cannot be read");
  }
  // Not synced: a part without a checksum is as good, and the disk has to wait for one file less.
  const fs::path path = checksum_path(file);
  TemporaryFile temporary(path);
  write_text(
      FileDescriptor(temporary.path(), O_WRONLY | O_CREAT),
      temporary.path(),
      line_of(checksum.digits, file));
  temporary.rename(Durability::ProcessAlone);
}

bool has_checksum(const std::filesystem::path& file) {
  return !kept_digits(file).empty();
}

std::optional<std::string> damage_by_checksum(const std::filesystem::path& file) {
  const Checksum checksum = checksum_of(file);
  if (checksum.error == EMFILE || checksum.error == ENFILE || checksum.error == ENOMEM) {
    errno = checksum.error;
    throw_errno(file, "cannot be read");
  }
  if (checksum.error != 0) {
    return "cannot be read: " + std::error_code(checksum.error, std::generic_category()).message();
  }
  if (checksum.digits == kept_digits(file)) return std::nullopt;
  return "is not what was sealed: its checksum is another";
}

}  // namespace limn
