#include "coordinator/batch.h"

#include <cstring>
#include <limits>
#include <optional>
#include <random>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/error.h"

namespace limn::test {

namespace {

using Bytes = std::vector<std::byte>;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Two samples, a perturbation without positions and a piece without anything.
Batch example_batch() {
  Batch batch;
  batch.id = std::int64_t{1} << 40;
  batch.pieces.push_back(
      {.sample_index = 3,
       .tokens = {1, 2, 131071, 4},
       .target_ids = {4, 5},
       .prompt_length = 3,
       .perturbation_begin = 17,
       .perturbations = {{{0}}, {{}}, {{1, 2, 3}}}});
  batch.pieces.push_back(
      {.sample_index = std::numeric_limits<std::int64_t>::max(), .stem = std::size_t{0}});
  return batch;
}

BatchResult example_result() {
  BatchResult result;
  result.batch_id = 4711;
  result.pieces.push_back(
      {.sample_index = 3,
       .perturbation_begin = 17,
       .base_log_prob = {-0.5F, -kInfinity},
       .delta = {0.25F, -0.0F, 1e-30F, 3.0F}});
  result.pieces.push_back({});
  return result;
}

// Equal floats may have different bits, and a NaN equals nothing.
std::vector<std::uint32_t> bits_of(const std::vector<float>& values) {
  std::vector<std::uint32_t> bits(values.size());
  std::memcpy(bits.data(), values.data(), values.size() * sizeof(float));
  return bits;
}

// How many of `count` copies of the letter, each with one to eight bits of it flipped, are refused.
// Whatever is not refused with limn's own error ends the test.
template <typename Read>
int count_refused_damage(const Bytes& letter, int count, Read read) {
  std::mt19937_64 random(5);
  int refused = 0;
  for (int i = 0; i < count; ++i) {
    Bytes damaged = letter;
    for (auto flips = random() % 8 + 1; flips > 0; --flips) {
      damaged[random() % damaged.size()] ^= static_cast<std::byte>(1 << random() % 8);
    }
    try {
      read(damaged);
    } catch (const InternalError&) {
      ++refused;
    }
  }
  return refused;
}

// The letter with eight bytes replaced by a number.
Bytes with_number(Bytes letter, std::size_t offset, std::uint64_t number) {
  std::memcpy(letter.data() + offset, &number, sizeof number);
  return letter;
}

}  // namespace

TEST(BatchTest, ComesBackFromItsBytes) {
  EXPECT_EQ(batch_from_bytes(to_bytes(example_batch())), example_batch());
  EXPECT_EQ(result_from_bytes(to_bytes(example_result())), example_result());
}

TEST(BatchTest, ComesBackWithNothingInIt) {
  EXPECT_EQ(batch_from_bytes(to_bytes(Batch{})), Batch{});
  EXPECT_EQ(result_from_bytes(to_bytes(BatchResult{})), BatchResult{});
}

TEST(BatchTest, IsNeverAnEmptyLetter) {
  // Those say that there are no more.
  EXPECT_FALSE(to_bytes(Batch{}).empty());
  EXPECT_FALSE(to_bytes(BatchResult{}).empty());
}

TEST(BatchTest, KeepsEveryBitOfAResult) {
  BatchResult result = example_result();
  result.pieces[0].delta = {kNaN, -kNaN, -0.0F, kInfinity, -kInfinity, 1e-45F};
  const BatchResult back = result_from_bytes(to_bytes(result));
  EXPECT_EQ(bits_of(back.pieces[0].delta), bits_of(result.pieces[0].delta));
}

// Samples of 0, 1, 5 and 3 perturbations; the last two share the rows of the second.
Batch batch_of_four() {
  Batch batch{.id = 9, .pieces = {}};
  for (const int count : {0, 1, 5, 3}) {
    BatchPiece& piece = batch.pieces.emplace_back();
    piece.sample_index = 10 + std::ssize(batch.pieces);
    piece.sample_id = std::string(1, static_cast<char>('a' + batch.pieces.size() - 1));
    piece.perturbation_begin = 100;
    for (std::int32_t i = 0; i < count; ++i)
      piece.perturbations.push_back({{i}});
  }
  batch.pieces[2].stem = batch.pieces[3].stem = 1;
  return batch;
}

// Whose deltas tell sample and perturbation.
BatchResult result_of(const Batch& batch) {
  BatchResult result{.batch_id = batch.id};
  for (const BatchPiece& piece : batch.pieces) {
    PieceResult& measured = result.pieces.emplace_back();
    measured.sample_index = piece.sample_index;
    measured.perturbation_begin = piece.perturbation_begin;
    for (const Perturbation& perturbation : piece.perturbations)
      measured.delta.push_back(
          static_cast<float>(100 * piece.sample_index + perturbation.positions.front()));
  }
  return result;
}

// By halves, down to single perturbations.
BatchResult result_by_halves(const Batch& batch) {
  for (std::size_t i = 0; i < batch.pieces.size(); ++i) {
    if (const auto stem = batch.pieces[i].stem) {
      EXPECT_LT(*stem, i);
      EXPECT_FALSE(batch.pieces.at(*stem).stem.has_value());
      EXPECT_NE(batch.pieces.at(*stem).sample_id, "a");
    }
  }
  if (!can_be_halved(batch)) return result_of(batch);
  const auto [first, second] = halves_of(batch);
  EXPECT_FALSE(first.pieces.empty());
  EXPECT_FALSE(second.pieces.empty());
  EXPECT_EQ(first.id, batch.id);
  return joined(batch, result_by_halves(first), result_by_halves(second));
}

TEST(BatchTest, IsTheSumOfItsHalves) {
  const Batch batch = batch_of_four();
  BatchResult result = result_by_halves(batch);
  EXPECT_EQ(result.num_sweeps, 10);  // nine perturbations and a base
  result.num_sweeps = 1;
  EXPECT_EQ(result, result_of(batch));
}

TEST(BatchTest, IsHalvedInTheMiddle) {
  const auto [first, second] = halves_of(batch_of_four());
  ASSERT_EQ(first.pieces.size(), 3U);
  EXPECT_EQ(first.pieces[2].perturbations.size(), 3U);
  EXPECT_EQ(first.pieces[2].stem, 1U);
  ASSERT_EQ(second.pieces.size(), 2U);
  EXPECT_EQ(second.pieces[0].perturbations.size(), 2U);
  EXPECT_EQ(second.pieces[0].perturbation_begin, 103);
  EXPECT_EQ(second.pieces[0].stem, std::nullopt);
  EXPECT_EQ(second.pieces[1].stem, 0U);
}

TEST(BatchTest, NamesItsSamples) {
  Batch batch = batch_of_four();
  EXPECT_EQ(text_of(batch), "batch 9, samples a, b, c and 1 more");
  batch.pieces.resize(1);
  EXPECT_EQ(text_of(batch), "batch 9, sample a");
}

TEST(BatchTest, RefusesEveryTruncation) {
  const Bytes batch = to_bytes(example_batch());
  for (std::size_t size = 0; size < batch.size(); ++size) {
    EXPECT_THROW(batch_from_bytes(std::span(batch).first(size)), InternalError) << size;
  }
  const Bytes result = to_bytes(example_result());
  for (std::size_t size = 0; size < result.size(); ++size) {
    EXPECT_THROW(result_from_bytes(std::span(result).first(size)), InternalError) << size;
  }
}

TEST(BatchTest, RefusesAByteTooMany) {
  for (const std::byte extra : {std::byte{0}, std::byte{255}}) {
    Bytes batch = to_bytes(example_batch());
    batch.push_back(extra);
    EXPECT_THROW(batch_from_bytes(batch), InternalError);
    Bytes result = to_bytes(example_result());
    result.push_back(extra);
    EXPECT_THROW(result_from_bytes(result), InternalError);
  }
}

TEST(BatchTest, RefusesCountsThatTheLetterCannotHold) {
  // Of pieces, and of the first piece's tokens: right behind the ids.
  const std::size_t num_pieces = sizeof(std::int64_t);
  const std::size_t num_tokens = 4 * sizeof(std::int64_t);
  const std::size_t num_results = sizeof(std::int64_t) + sizeof(std::int32_t);
  const Bytes batch = to_bytes(example_batch());
  const Bytes result = to_bytes(example_result());
  // The last ones times the size of an element are small again in 64 bits.
  for (const std::uint64_t count :
       {std::uint64_t{1000},
        std::uint64_t{1} << 40,
        ~std::uint64_t{0},
        (std::uint64_t{1} << 62) + 1,
        (std::uint64_t{1} << 61) + 1}) {
    EXPECT_THROW(batch_from_bytes(with_number(batch, num_pieces, count)), InternalError) << count;
    EXPECT_THROW(batch_from_bytes(with_number(batch, num_tokens, count)), InternalError) << count;
    EXPECT_THROW(result_from_bytes(with_number(result, num_results, count)), InternalError)
        << count;
  }
}

TEST(BatchTest, DamageIsReadOrRefusedNeverACrash) {
  // What is not refused hits a value, which any bits are legal for.
  EXPECT_GT(count_refused_damage(to_bytes(example_batch()), 5000, batch_from_bytes), 2000);
  EXPECT_GT(count_refused_damage(to_bytes(example_result()), 5000, result_from_bytes), 2000);
}

}  // namespace limn::test
