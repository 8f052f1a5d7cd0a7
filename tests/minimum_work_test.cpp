#include "worker/minimum_work.h"

#include <vector>

#include <gtest/gtest.h>

#include "worker/key_factors.h"

namespace limn::test {

namespace {

// Two heads of 4 on one key/value head, hidden 6, inner 5 with a gate, 40 ids.
DecoderConfig small_decoder(std::int64_t layers) {
  DecoderConfig config;
  config.vocab_size = 40;
  config.hidden = 6;
  config.inner = 5;
  config.num_heads = 2;
  config.num_kv_heads = 1;
  config.head_dim = 4;
  config.layers.resize(static_cast<std::size_t>(layers));
  return config;
}

// Five fed tokens, two targets, one perturbation of the token at 2: the base's rows at 0 to 4, the
// perturbation's at 2 to 4, target rows at 3 and 4 of both.
SweepLayout small_layout() {
  BatchPiece piece;
  piece.tokens = {1, 2, 3, 4, 5};
  piece.target_ids = {5, 6};
  piece.prompt_length = 4;
  piece.perturbations = {{{2}}};
  const Batch batch{0, {piece}};
  return lay_out_sweep(batch, batch_factors(batch, {}, {}), 1024);
}

MinimumWork work_of(const DecoderConfig& config, const WorkOptions& options = {}) {
  MinimumWork work;
  add_minimum_work(config, options, small_layout(), work);
  return work;
}

constexpr double kQkv = 6 * (8 + 2 * 4);  // elements of the matrices
constexpr double kQuery = 6 * 8;
constexpr double kKeyValue = 6 * 2 * 4;
constexpr double kOut = 8 * 6;
constexpr double kMlp = 3 * 6 * 5;
constexpr double kHead = 6 * 40;

}  // namespace

TEST(MinimumWorkTest, CountsEveryMatrixForTheRowsThatNeedIt) {
  const MinimumWork work = work_of(small_decoder(3));
  EXPECT_EQ(work.rows, 8);
  const double first = 5 * kQkv + 8 * (kOut + kMlp);  // projections of the base alone
  const double middle = 8 * (kQkv + kOut + kMlp);
  const double last = 8 * kKeyValue + 4 * (kQuery + kOut + kMlp);
  EXPECT_DOUBLE_EQ(work.product_flops(), 2 * (first + middle + last + 4 * kHead));
}

TEST(MinimumWorkTest, CountsTheKeysThatRowsSee) {
  // The base's rows see 1 to 5 keys, the perturbation's 3 to 5; target rows 4 and 5.
  const double keys = 2 * (15 + 12) + (9 + 9);
  EXPECT_DOUBLE_EQ(work_of(small_decoder(3)).attention_flops, 4 * 8 * keys);
}

TEST(MinimumWorkTest, CountsNoKeysBehindAWindow) {
  DecoderConfig config = small_decoder(3);
  config.layers[1].window = 2;
  const double keys = (15 + 12) + (1 + 4 * 2 + 3 * 2) + (9 + 9);
  EXPECT_DOUBLE_EQ(work_of(config).attention_flops, 4 * 8 * keys);
}

TEST(MinimumWorkTest, CountsTheChosenExperts) {
  DecoderConfig config = small_decoder(2);
  config.experts = ExpertsConfig{.num_experts = 4, .num_chosen = 2, .inner = 7};
  const double dense = work_of(config).product_flops();
  config.layers[0].has_experts = true;
  // Of the base 10 of 40 chosen rows are spread over 4 experts, 2 each; of the others 6, 1 each.
  const double experts = 8 * 6 * 4 + (4 * 2 + 4 * 1) * 3 * 6 * 7;
  EXPECT_DOUBLE_EQ(work_of(config).product_flops(), dense + 2 * (experts - 8 * kMlp));
}

TEST(MinimumWorkTest, GivesATensorRankItsShare) {
  DecoderConfig config = small_decoder(3);
  config.num_kv_heads = 2;
  config.inner = 4;
  const double whole = work_of(config).flops();
  EXPECT_DOUBLE_EQ(work_of(config, {.tensor_parallel = 2}).flops(), whole / 2);
}

TEST(MinimumWorkTest, TellsTheArithmeticsApart) {
  const auto flops_in = [](SweepCompute compute, at::ScalarType dtype) {
    MinimumWork some;
    for (const auto& [product, count] : work_of(small_decoder(3), {.compute = compute}).products) {
      if (product.dtype == dtype) some.products[product] = count;
    }
    return some.product_flops();
  };
  const double head = 2 * 2 * kHead;  // of either block
  const double all = work_of(small_decoder(3)).product_flops();
  EXPECT_DOUBLE_EQ(flops_in(SweepCompute::Float32, at::kFloat), all);
  EXPECT_DOUBLE_EQ(flops_in(SweepCompute::Bfloat16, at::kBFloat16), all - 2 * head);
  // The base's rows stay float32.
  const double base =
      2 * (5 * (2 * kQkv + kKeyValue + 2 * (kOut + kMlp)) + 2 * (kQuery + kOut + kMlp)) + head;
  EXPECT_DOUBLE_EQ(flops_in(SweepCompute::Bfloat16Delta, at::kFloat), base);
  EXPECT_DOUBLE_EQ(flops_in(SweepCompute::Bfloat16Delta, at::kBFloat16), all - base);
}

}  // namespace limn::test
