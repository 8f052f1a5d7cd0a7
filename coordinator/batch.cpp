#include "coordinator/batch.h"

#include <cstring>
#include <limits>
#include <type_traits>

#include "storage/error.h"

namespace limn {

namespace {

constexpr auto kNoStem = std::numeric_limits<std::size_t>::max();

class ByteWriter {
 public:
  template <typename Value>
  void put(const Value& value) {
    static_assert(std::is_trivially_copyable_v<Value>);
    append(&value, sizeof value);
  }

  template <typename Value>
  void put(const std::vector<Value>& values) {
    static_assert(std::is_trivially_copyable_v<Value>);
    put(values.size());
    append(values.data(), values.size() * sizeof(Value));
  }

  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  void append(const void* data, std::size_t size) {
    const auto* const begin = static_cast<const std::byte*>(data);
    bytes_.insert(bytes_.end(), begin, begin + size);
  }

  std::vector<std::byte> bytes_;
};

class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : rest_(bytes) {}

  template <typename Value>
  void get(Value& value) {
    static_assert(std::is_trivially_copyable_v<Value>);
    take(&value, 1, sizeof value);
  }

  template <typename Value>
  void get(std::vector<Value>& values) {
    values.resize(get_count(sizeof(Value)));
    take(values.data(), values.size(), sizeof(Value));
  }

  // A number of things that take at least `least_bytes` each, so that bad bytes cannot ask for more
  // memory than they have.
  std::size_t get_count(std::size_t least_bytes) {
    std::size_t count = 0;
    get(count);
    check(count <= rest_.size() / least_bytes, "a letter that promises {} items", count);
    return count;
  }

  void expect_end() const { check(rest_.empty(), "{} bytes too many in a letter", rest_.size()); }

 private:
  void take(void* data, std::size_t count, std::size_t size) {
    check(count * size <= rest_.size(), "a letter that ends early");
    if (count > 0) std::memcpy(data, rest_.data(), count * size);
    rest_ = rest_.subspan(count * size);
  }

  std::span<const std::byte> rest_;
};

}  // namespace

std::vector<std::byte> to_bytes(const Batch& batch) {
  ByteWriter writer;
  writer.put(batch.id);
  writer.put(batch.pieces.size());
  for (const BatchPiece& piece : batch.pieces) {
    writer.put(piece.sample_index);
    writer.put(piece.tokens);
    writer.put(piece.target_ids);
    writer.put(piece.prompt_length);
    writer.put(piece.perturbation_begin);
    writer.put(piece.perturbations.size());
    for (const Perturbation& perturbation : piece.perturbations)
      writer.put(perturbation.positions);
    writer.put(piece.stem.value_or(kNoStem));
  }
  return writer.take();
}

Batch batch_from_bytes(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  Batch batch;
  reader.get(batch.id);
  batch.pieces.resize(reader.get_count(sizeof(std::int64_t)));
  for (BatchPiece& piece : batch.pieces) {
    reader.get(piece.sample_index);
    reader.get(piece.tokens);
    reader.get(piece.target_ids);
    reader.get(piece.prompt_length);
    reader.get(piece.perturbation_begin);
    piece.perturbations.resize(reader.get_count(sizeof(std::size_t)));
    for (Perturbation& perturbation : piece.perturbations)
      reader.get(perturbation.positions);
    std::size_t stem = kNoStem;
    reader.get(stem);
    if (stem != kNoStem) piece.stem = stem;
  }
  reader.expect_end();
  return batch;
}

std::vector<std::byte> to_bytes(const BatchResult& result) {
  ByteWriter writer;
  writer.put(result.batch_id);
  writer.put(result.pieces.size());
  for (const PieceResult& piece : result.pieces) {
    writer.put(piece.sample_index);
    writer.put(piece.perturbation_begin);
    writer.put(piece.base_log_prob);
    writer.put(piece.delta);
  }
  return writer.take();
}

BatchResult result_from_bytes(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  BatchResult result;
  reader.get(result.batch_id);
  result.pieces.resize(reader.get_count(sizeof(std::int64_t)));
  for (PieceResult& piece : result.pieces) {
    reader.get(piece.sample_index);
    reader.get(piece.perturbation_begin);
    reader.get(piece.base_log_prob);
    reader.get(piece.delta);
  }
  reader.expect_end();
  return result;
}

}  // namespace limn
