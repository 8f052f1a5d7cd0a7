#include "storage/byte_stream.h"

#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "storage/durable_file.h"
#include "storage/error.h"

namespace limn {

namespace {

constexpr std::size_t kBufferBytes = 256 * 1024;

constexpr std::string_view kGzipMagic = "\x1F\x8B";
constexpr std::string_view kZstdMagic = "\x28\xB5\x2F\xFD";

class PlainFile : public ByteStream {
 public:
  explicit PlainFile(std::filesystem::path path) : path_(std::move(path)), file_(path_, O_RDONLY) {}

  std::size_t read(std::span<char> buffer) override {
    ssize_t got = 0;
    do {
      got = ::read(file_.get(), buffer.data(), buffer.size());
    } while (got < 0 && errno == EINTR);
    if (got < 0) throw_errno(path_, "cannot be read");
    return static_cast<std::size_t>(got);
  }

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  FileDescriptor file_;
};

// The bytes of an archive, with the first ones looked at already.
class PackedFile {
 public:
  PackedFile(PlainFile file, std::span<const char> first)
      : file_(std::move(file)),
        buffer_(std::make_unique<char[]>(kBufferBytes)) {
    std::ranges::copy(first, buffer_.get());
    rest_ = {buffer_.get(), first.size()};
  }

  // What is not unpacked yet; empty at the file's end.
  std::span<const char> rest() {
    if (rest_.empty()) {
      const std::span<char> buffer(buffer_.get(), kBufferBytes);
      rest_ = buffer.first(file_.read(buffer));
    }
    return rest_;
  }

  void take(std::size_t count) { rest_ = rest_.subspan(count); }

  [[noreturn]] void refuse_early_end() const {
    throw DataError(fmt::format(
        "{}: the archive ends before its contents do; fetch or pack it again",
        file_.path().string()));
  }

  [[noreturn]] void refuse_damage(std::string_view complaint) const {
    throw DataError(fmt::format(
        "{}: the archive is damaged; fetch or pack it again: {}",
        file_.path().string(),
        complaint));
  }

 private:
  PlainFile file_;
  std::unique_ptr<char[]> buffer_;
  std::span<const char> rest_;
};

class GzipFile : public ByteStream {
 public:
  explicit GzipFile(PackedFile file) : file_(std::move(file)) {
    // With the header and the checksum of gzip.
    constexpr int kWindowBits = 15 + 16;
    check(::inflateInit2(&inflater_, kWindowBits) == Z_OK, "zlib cannot begin");
  }

  ~GzipFile() override { ::inflateEnd(&inflater_); }

  GzipFile(const GzipFile&) = delete;
  GzipFile& operator=(const GzipFile&) = delete;

  std::size_t read(std::span<char> buffer) override {
    std::size_t unpacked = 0;
    while (unpacked == 0) {
      const std::span<const char> packed = file_.rest();
      if (packed.empty()) {
        if (!between_archives_) file_.refuse_early_end();
        return 0;
      }
      unpacked = unpack(packed, buffer);
    }
    return unpacked;
  }

 private:
  std::size_t unpack(std::span<const char> packed, std::span<char> buffer) {
    if (between_archives_) ::inflateReset(&inflater_);
    // zlib does not write to its input.
    inflater_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
    inflater_.avail_in = static_cast<uInt>(packed.size());
    inflater_.next_out = reinterpret_cast<Bytef*>(buffer.data());
    inflater_.avail_out = static_cast<uInt>(buffer.size());
    const int status = ::inflate(&inflater_, Z_NO_FLUSH);
    if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR) {
      file_.refuse_damage(inflater_.msg != nullptr ? inflater_.msg : ::zError(status));
    }
    between_archives_ = status == Z_STREAM_END;
    file_.take(packed.size() - inflater_.avail_in);
    return buffer.size() - inflater_.avail_out;
  }

  PackedFile file_;
  z_stream inflater_ = {};
  bool between_archives_ = false;
};

class ZstdFile : public ByteStream {
 public:
  explicit ZstdFile(PackedFile file)
      : file_(std::move(file)),
        unpacker_(::ZSTD_createDCtx(), ::ZSTD_freeDCtx) {
    check(unpacker_ != nullptr, "zstd cannot begin");
  }

  std::size_t read(std::span<char> buffer) override {
    ZSTD_outBuffer unpacked{buffer.data(), buffer.size(), 0};
    while (unpacked.pos == 0) {
      const std::span<const char> packed = file_.rest();
      // The last bytes may have been taken while what they stand for did not fit into the buffer.
      if (packed.empty() && !has_more_to_give_) {
        if (!between_archives_) file_.refuse_early_end();
        return 0;
      }
      ZSTD_inBuffer input{packed.data(), packed.size(), 0};
      const std::size_t status = ::ZSTD_decompressStream(unpacker_.get(), &unpacked, &input);
      if (::ZSTD_isError(status)) file_.refuse_damage(::ZSTD_getErrorName(status));
      file_.take(input.pos);
      between_archives_ = status == 0;
      has_more_to_give_ = status != 0 && unpacked.pos == unpacked.size;
    }
    return unpacked.pos;
  }

 private:
  PackedFile file_;
  std::unique_ptr<ZSTD_DCtx, decltype(&::ZSTD_freeDCtx)> unpacker_;
  bool between_archives_ = false;
  bool has_more_to_give_ = false;
};

// A plain file whose first bytes were looked at already.
class PlainBytes : public ByteStream {
 public:
  PlainBytes(PlainFile file, std::span<const char> first)
      : file_(std::move(file)),
        first_(first.begin(), first.end()) {}

  std::size_t read(std::span<char> buffer) override {
    if (first_.empty()) return file_.read(buffer);
    const std::size_t count = std::min(first_.size(), buffer.size());
    std::ranges::copy(first_.substr(0, count), buffer.begin());
    first_.erase(0, count);
    return count;
  }

 private:
  PlainFile file_;
  std::string first_;
};

}  // namespace

std::unique_ptr<ByteStream> open_byte_stream(const std::filesystem::path& path) {
  PlainFile file(path);
  std::array<char, 4> first_bytes = {};
  std::size_t count = 0;
  while (count < first_bytes.size()) {
    const std::size_t got = file.read(std::span(first_bytes).subspan(count));
    if (got == 0) break;
    count += got;
  }
  const std::string_view first(first_bytes.data(), count);
  if (first.starts_with(kGzipMagic)) {
    return std::make_unique<GzipFile>(PackedFile(std::move(file), first));
  }
  if (first == kZstdMagic) {
    return std::make_unique<ZstdFile>(PackedFile(std::move(file), first));
  }
  const std::filesystem::path extension = path.extension();
  if (extension == ".gz" || extension == ".zst") {
    throw DataError(fmt::format(
        "{}: is no archive of {}, as its name says; fetch or pack it again, or give it another "
        "name",
        path.string(),
        extension == ".gz" ? "gzip" : "zstd"));
  }
  return std::make_unique<PlainBytes>(std::move(file), first);
}

std::string read_whole_file(const std::filesystem::path& path) {
  const auto stream = open_byte_stream(path);
  const auto buffer = std::make_unique<char[]>(kBufferBytes);
  std::string bytes;
  while (const std::size_t got = stream->read({buffer.get(), kBufferBytes}))
    bytes.append(buffer.get(), got);
  return bytes;
}

LineReader::LineReader(const std::filesystem::path& path)
    : stream_(open_byte_stream(path)),
      buffer_(std::make_unique<char[]>(kBufferBytes)) {}

bool LineReader::next(std::string& line) {
  line.clear();
  if (rest_.empty() && !fill()) return false;
  do {
    const std::string_view rest(rest_.data(), rest_.size());
    const std::size_t end = rest.find('\n');
    line += rest.substr(0, end);
    if (end != std::string_view::npos) {
      rest_ = rest_.subspan(end + 1);
      return true;
    }
  } while (fill());
  return true;
}

bool LineReader::fill() {
  const std::span<char> buffer(buffer_.get(), kBufferBytes);
  rest_ = buffer.first(stream_->read(buffer));
  return !rest_.empty();
}

}  // namespace limn
