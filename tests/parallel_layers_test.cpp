// Sharded layers against the whole ones in float64.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "sharding/parallel_linear.h"
#include "sharding/parallel_vocabulary.h"
#include "sharding/process_mesh.h"
#include "sharding/shard_layout.h"
#include "tests/random_tensor.h"

namespace limn::test {

namespace {

class ParallelLayersTest : public testing::Test {
 protected:
  std::unique_ptr<Communicator> ranks = world_communicator();
};

}  // namespace

TEST_F(ParallelLayersTest, ColumnThenRowEqualsTheWholeProduct) {
  const at::Tensor x = random_tensor({5, 24}, 1);
  const at::Tensor up = random_tensor({31, 24}, 2);
  const at::Tensor up_bias = random_tensor({31}, 3);
  const at::Tensor down = random_tensor({24, 31}, 4);
  const at::Tensor down_bias = random_tensor({24}, 5);

  const Slice slice = even_slice(31, ranks->size(), ranks->rank());
  const ColumnParallelLinear column{rows(up, slice), rows(up_bias, slice)};
  const RowParallelLinear row{columns(down, slice), down_bias.to(at::kFloat), ranks.get()};

  const at::Tensor expected = at::linear(at::linear(x, up, up_bias), down, down_bias);
  EXPECT_LT(largest_error(row(column(x.to(at::kFloat))), expected), 2e-4);
}

TEST_F(ParallelLayersTest, EmbeddingGivesTheTablesRowsExactly) {
  const at::Tensor table = random_tensor({37, 6}, 6);
  const Slice slice = even_slice(37, ranks->size(), ranks->rank());
  const VocabularyParallelEmbedding embedding{rows(table, slice), slice, ranks.get()};
  const at::Tensor ids = at::tensor({0, 36, 5, 5, 18, 19}, at::kLong);
  EXPECT_TRUE(at::equal(embedding(ids), table.to(at::kFloat).index_select(0, ids)));
}

TEST_F(ParallelLayersTest, LogProbEqualsTheWholeLogSoftmax) {
  // More rows and ids than one block of logits holds on any number of ranks, and logits large
  // enough to overflow a bare exponential.
  constexpr std::int64_t targets = 1100;
  constexpr std::int64_t vocabulary = 33'000;
  const at::Tensor x = random_tensor({targets, 16}, 7) * 20;
  const at::Tensor table = random_tensor({vocabulary, 16}, 8);
  const at::Tensor ids = at::arange(targets, at::kLong).mul(31).remainder(vocabulary);
  const Slice slice = even_slice(vocabulary, ranks->size(), ranks->rank());
  const VocabularyParallelLogProb head{
      .weight = rows(table, slice), .vocabulary = slice, .tensor_ranks = ranks.get()};

  const at::Tensor expected =
      at::log_softmax(at::linear(x, table), 1).gather(1, ids.unsqueeze(1)).squeeze(1);
  const at::Tensor got = head(x.to(at::kFloat), ids);
  EXPECT_EQ(got.scalar_type(), at::kDouble);
  // Relative to logits of a few hundred.
  EXPECT_LT(largest_error(got, expected), 2e-4);
}

}  // namespace limn::test
