#include "storage/fingerprint.h"

#include <cstdint>

#include <fmt/format.h>
#include <xxhash.h>

#include "storage/error.h"
#include "storage/mapped_file.h"

namespace limn {

class Fingerprint::Impl {
 public:
  Impl() : state_(XXH3_createState(), XXH3_freeState) {
    check(state_ != nullptr, "no memory for a hash");
    XXH3_128bits_reset(state_.get());
  }

  void add(const void* data, std::size_t size) { XXH3_128bits_update(state_.get(), data, size); }

  std::string text() const {
    const XXH128_hash_t hash = XXH3_128bits_digest(state_.get());
    return fmt::format("xxh3:{:016x}{:016x}", hash.high64, hash.low64);
  }

  std::uint64_t low() const { return XXH3_128bits_digest(state_.get()).low64; }

 private:
  std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state_;
};

Fingerprint::Fingerprint() : impl_(std::make_unique<Impl>()) {}

Fingerprint::~Fingerprint() = default;

Fingerprint::Fingerprint(Fingerprint&&) noexcept = default;

Fingerprint& Fingerprint::operator=(Fingerprint&&) noexcept = default;

void Fingerprint::add(std::span<const std::byte> bytes) {
  impl_->add(bytes.data(), bytes.size());
}

void Fingerprint::add(std::string_view text) {
  const std::uint64_t size = text.size();
  impl_->add(&size, sizeof size);
  impl_->add(text.data(), text.size());
}

std::string Fingerprint::text() const {
  return impl_->text();
}

std::int64_t Fingerprint::number() const {
  const auto number = static_cast<std::int64_t>(impl_->low());
  return number == 0 ? 1 : number;
}

std::string file_fingerprint(const std::filesystem::path& path) {
  const MappedFile file(path);
  Fingerprint fingerprint;
  fingerprint.add(file.bytes());
  return fingerprint.text();
}

}  // namespace limn
