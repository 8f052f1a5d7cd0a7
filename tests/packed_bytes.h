// Archives of gzip and zstd, made in memory.
#pragma once

#include <zlib.h>
#include <zstd.h>

#include <stdexcept>
#include <string>
#include <string_view>

namespace limn::test {

inline std::string gzipped(std::string_view bytes) {
  z_stream deflater = {};
  constexpr int kWindowBits = 15 + 16;  // with gzip's header
  if (::deflateInit2(&deflater, 6, Z_DEFLATED, kWindowBits, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
    throw std::runtime_error("zlib cannot begin");
  }
  std::string packed(::deflateBound(&deflater, bytes.size()) + 32, '\0');
  deflater.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  deflater.avail_in = static_cast<uInt>(bytes.size());
  deflater.next_out = reinterpret_cast<Bytef*>(packed.data());
  deflater.avail_out = static_cast<uInt>(packed.size());
  const int status = ::deflate(&deflater, Z_FINISH);
  packed.resize(packed.size() - deflater.avail_out);
  ::deflateEnd(&deflater);
  if (status != Z_STREAM_END) throw std::runtime_error("zlib cannot pack");
  return packed;
}

// With a checksum, as the program zstd makes them.
inline std::string zstd_packed(std::string_view bytes) {
  ZSTD_CCtx* const packer = ::ZSTD_createCCtx();
  ::ZSTD_CCtx_setParameter(packer, ZSTD_c_checksumFlag, 1);
  std::string packed(::ZSTD_compressBound(bytes.size()), '\0');
  const std::size_t size =
      ::ZSTD_compress2(packer, packed.data(), packed.size(), bytes.data(), bytes.size());
  ::ZSTD_freeCCtx(packer);
  if (::ZSTD_isError(size)) throw std::runtime_error("zstd cannot pack");
  packed.resize(size);
  return packed;
}

}  // namespace limn::test
