#include "coordinator/generation.h"

#include <span>

#include <gtest/gtest.h>

#include "storage/error.h"

namespace limn::test {

namespace {

GenerationBatch example_batch() {
  return {
      .id = std::int64_t{1} << 40,
      .prompts = {{3, {1, 2, 131071}, 16}, {7, {4}, 1}},
      .end_tokens = {2, 100257}};
}

GenerationResult example_result() {
  return {.batch_id = 9, .targets = {{3, {5, 6}}, {7, {2}}}};
}

}  // namespace

TEST(GenerationTest, ComesBackFromItsBytes) {
  EXPECT_EQ(generation_batch_from_bytes(to_bytes(example_batch())), example_batch());
  EXPECT_EQ(generation_result_from_bytes(to_bytes(example_result())), example_result());
  EXPECT_EQ(generation_batch_from_bytes(to_bytes(GenerationBatch{})), GenerationBatch{});
  EXPECT_EQ(generation_result_from_bytes(to_bytes(GenerationResult{})), GenerationResult{});
}

TEST(GenerationTest, RefusesLettersOfAnotherLength) {
  auto batch = to_bytes(example_batch());
  for (std::size_t size = 0; size < batch.size(); ++size)
    EXPECT_THROW(generation_batch_from_bytes(std::span(batch).first(size)), InternalError) << size;
  batch.push_back({});
  EXPECT_THROW(generation_batch_from_bytes(batch), InternalError);

  auto result = to_bytes(example_result());
  for (std::size_t size = 0; size < result.size(); ++size)
    EXPECT_THROW(generation_result_from_bytes(std::span(result).first(size)), InternalError)
        << size;
  result.push_back({});
  EXPECT_THROW(generation_result_from_bytes(result), InternalError);
}

}  // namespace limn::test
