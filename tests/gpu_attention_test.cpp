// Attention by the GPU's kernel against one full matrix of logits in float64: on an emulated GPU,
// so that the kernel is tried everywhere, and on the GPU that is there.

#include "worker/gpu/gpu_attention.h"

#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/error.h"
#include "tests/attention_problem.h"
#include "tests/emulated_programs.h"
#include "tests/gpu_under_test.h"

namespace limn::test {

namespace {

// With factors that are exact to 2^-24 and to 2^-16: logits reach 15, and values 4.
constexpr double kRounding = 2e-5;
constexpr double kRoundingOfTwoPieces = 5e-4;

enum class Where { Emulated, Device };

class GpuAttentionTest : public testing::TestWithParam<Where> {
 protected:
  void SetUp() override {
    if (GetParam() != Where::Device) return;
    if (const auto reason = why_no_gpu()) GTEST_SKIP() << *reason;
  }

  bool is_emulated() const { return GetParam() == Where::Emulated; }

  at::Device device() const { return is_emulated() ? at::Device(at::kCPU) : gpu_under_test(); }

  GpuPrograms& programs() { return is_emulated() ? emulated_ : gpu_programs(); }

  at::Tensor attention(const Problem& problem, RowSet rows = RowSet::All, int pieces = 3) {
    return attention(problem, rows, pieces, programs());
  }

  at::Tensor attention(
      const Problem& problem, RowSet rows, int pieces, GpuPrograms& by_programs) const {
    const std::int64_t head_dim = problem.projected.queries.size(2);
    AttentionOptions options = problem.options;
    for (at::Tensor* const tensor : {&options.key_bias, &options.sinks}) {
      if (tensor->defined()) *tensor = tensor->to(device());
    }
    GpuAttentionPlan plan(problem.layout, options.heads, head_dim, pieces, device(), by_programs);
    GpuAttention attention(plan, options);
    return attention_of_all_blocks(attention, problem.layout, problem.projected, rows, device());
  }

  Attend attend() {
    return [this](const Problem& problem, RowSet rows) { return attention(problem, rows); };
  }

  double error(const Problem& problem) {
    return largest_error(attention(problem), problem.dense());
  }

  // An emulated GPU takes its time.
  std::vector<std::int64_t> windows() const {
    if (is_emulated()) return {0, 5};
    return {0, 1, 5, 16, 64, 100, 151};
  }

 private:
  // With as much shared memory for a block as an H100.
  EmulatedPrograms emulated_{227 << 10};
};

}  // namespace

TEST_P(GpuAttentionTest, EqualsDenseAttentionWithAWindowOfAnyWidth) {
  Problem problem(lay_out(some_samples(), kBlockRows), {{0, 2, 0, 2}}, 6);
  ASSERT_GT(problem.layout.blocks.size(), 3U);
  for (const SuppressionKind kind : kKinds) {
    for (const std::int64_t window : windows()) {
      EXPECT_LT(error(problem.with(kind, window)), kRounding)
          << "kind " << static_cast<int>(kind) << ", window " << window;
    }
  }
}

TEST_P(GpuAttentionTest, EqualsDenseAttentionWithSoftCapBiasAndSinks) {
  for (const SuppressionKind kind : kKinds) {
    for (const std::int64_t window : is_emulated() ? std::vector<std::int64_t>{70} : windows()) {
      const auto plain = [&] {
        return Problem(lay_out(some_samples(), kBlockRows), {{0, 2, 0, 2}}, 6).with(kind, window);
      };
      const std::string what =
          "kind " + std::to_string(static_cast<int>(kind)) + ", window " + std::to_string(window);
      if (!is_emulated()) {
        EXPECT_LT(error(plain().with_softcap()), kRounding) << what;
        EXPECT_LT(error(plain().with_key_bias()), kRounding) << what;
        EXPECT_LT(error(plain().with_sinks()), kRounding) << what;
      }
      EXPECT_LT(error(plain().with_softcap().with_key_bias().with_sinks()), kRounding) << what;
    }
  }
}

TEST_P(GpuAttentionTest, EqualsDenseAttentionForHeadsOfAnyWidth) {
  std::vector<std::int64_t> widths{1, 6, 20, 64, 80, 128};
  if (!is_emulated()) widths.insert(widths.end(), {96, 192, 256});
  for (const std::int64_t head_dim : widths) {
    Problem problem(lay_out(some_samples(), kBlockRows), {{0, 2, 0, 2}}, head_dim);
    EXPECT_LT(error(problem.with(SuppressionKind::LogAdditive)), kRounding) << head_dim;
    EXPECT_LT(error(problem.with(SuppressionKind::ShiftedFull, 5)), kRounding) << head_dim;
  }
}

TEST_P(GpuAttentionTest, IsNearDenseAttentionWithTwoPieces) {
  for (const std::int64_t head_dim : {20, 128}) {
    Problem problem(lay_out(some_samples(), kBlockRows), {{0, 2, 0, 3}}, head_dim);
    for (const SuppressionKind kind : kKinds) {
      problem.with(kind, 70).with_sinks().with_key_bias();
      EXPECT_LT(
          largest_error(attention(problem, RowSet::All, 2), problem.dense()), kRoundingOfTwoPieces)
          << static_cast<int>(kind);
    }
  }
}

TEST_P(GpuAttentionTest, IsNearWithTwoPiecesAndNearerThanWithOne) {
  Problem problem(lay_out(some_samples(), kBlockRows), {{0, 2, 0, 2}}, 20);
  problem.with(SuppressionKind::Shifted, 70).with_sinks();
  const at::Tensor expected = problem.dense();
  const auto error_of = [&](int pieces) {
    return largest_error(attention(problem, RowSet::All, pieces), expected);
  };
  EXPECT_LT(error_of(2), kRoundingOfTwoPieces);
  EXPECT_GT(error_of(1), 10 * error_of(2));
}

TEST_P(GpuAttentionTest, EqualsDenseAttentionForAnyNumberOfQueriesPerKey) {
  const std::vector<std::int64_t> counts =
      is_emulated() ? std::vector<std::int64_t>{8, 71} : std::vector<std::int64_t>{1, 3, 8, 71};
  for (const std::int64_t queries_per_kv : counts) {
    Problem problem(lay_out(some_samples(), kBlockRows), {{0, 2, 0, queries_per_kv}}, 6);
    problem.with_sinks().with_key_bias();
    EXPECT_LT(error(problem.with(SuppressionKind::Shifted)), kRounding) << queries_per_kv;
    EXPECT_LT(error(problem.with(SuppressionKind::Shifted, 5)), kRounding) << queries_per_kv;
  }
}

TEST_P(GpuAttentionTest, EqualsDenseAttentionForRunsOfHeadsThatDiffer) {
  const std::vector<HeadRun> heads{{0, 1, 0, 1}, {1, 2, 1, 3}, {3, 1, 7, 8}};
  Problem problem(lay_out(some_samples(), kBlockRows), heads, 20);
  problem.with_sinks().with_key_bias();
  for (const SuppressionKind kind : kKinds)
    EXPECT_LT(error(problem.with(kind, 70)), kRounding) << static_cast<int>(kind);
}

TEST_P(GpuAttentionTest, EqualsDenseAttentionOverManyPanels) {
  Sample sample{.length = 330, .num_targets = 3};
  for (const std::int64_t first : {0, 1, 127, 128, 129, 192, 200, 329})
    sample.factors.push_back({{first}, {0.2F}});
  Problem problem(lay_out({sample}, kBlockRows), {{0, 1, 0, 3}}, 20);
  for (const std::int64_t window : {0, 150}) {
    EXPECT_LT(error(problem.with(SuppressionKind::LogAdditive, window)), kRounding);
    EXPECT_LT(error(problem.with(SuppressionKind::ShiftedFull, window)), kRounding);
  }
}

TEST_P(GpuAttentionTest, GivesTheRowsOfTargetsAlonePreciselyAsAmongAll) {
  expect_targets_alone_as_among_all(attend(), {0, 5});
}

TEST_P(GpuAttentionTest, GivesTheSameBitsInBlocksOfAnySize) {
  const auto output = [&](std::int64_t block_rows) {
    Problem problem(lay_out(some_samples(), block_rows), {{0, 2, 0, 2}}, 20);
    return attention(problem.with(SuppressionKind::Shifted, 70));
  };
  const at::Tensor in_one_block = output(10000);
  for (const std::int64_t block_rows : {1, 150})
    EXPECT_TRUE(at::equal(output(block_rows), in_one_block)) << block_rows;
}

TEST_P(GpuAttentionTest, GivesZeroWhereAWindowHasHiddenKeysAlone) {
  expect_zero_where_a_window_has_hidden_keys_alone(attend());
}

TEST_P(GpuAttentionTest, LetsANanOutInTheRowThatHasItAlone) {
  expect_a_nan_out_in_its_row_alone(attend());
}

TEST_P(GpuAttentionTest, MakesDoWithLittleSharedMemory) {
  if (!is_emulated()) GTEST_SKIP() << "its shared memory is what it is";
  EmulatedPrograms small(20 << 10);
  Problem problem(lay_out(some_samples(), kBlockRows), {{0, 2, 0, 2}}, 20);
  problem.with(SuppressionKind::ShiftedFull, 70).with_sinks();
  EXPECT_LT(largest_error(attention(problem, RowSet::All, 3, small), problem.dense()), kRounding);
}

TEST_P(GpuAttentionTest, SaysThatHeadsAreTooWideForTheGpu) {
  Problem problem(lay_out({{.length = 2}}, kBlockRows), {{0, 1, 0, 1}}, 2048);
  EXPECT_THROW(attention(problem), JobError);
}

INSTANTIATE_TEST_SUITE_P(
    Gpus,
    GpuAttentionTest,
    testing::Values(Where::Emulated, Where::Device),
    [](const auto& parameter) {
      return parameter.param == Where::Emulated ? "Emulated" : "Device";
    });

}  // namespace limn::test
