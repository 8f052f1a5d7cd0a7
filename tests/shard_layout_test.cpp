#include "sharding/shard_layout.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace limn::test {

using testing::ElementsAre;

TEST(ShardLayoutTest, CutsSlicesThatDifferByOneAtMost) {
  EXPECT_EQ(even_slice(10, 3, 0), (Slice{0, 4}));
  EXPECT_EQ(even_slice(10, 3, 1), (Slice{4, 7}));
  EXPECT_EQ(even_slice(10, 3, 2), (Slice{7, 10}));
  EXPECT_EQ(even_slice(1, 2, 1), (Slice{1, 1}));
}

TEST(ShardLayoutTest, SlicesCoverEverythingOnce) {
  for (std::int64_t total = 0; total < 40; ++total) {
    for (int ranks = 1; ranks < 9; ++ranks) {
      std::int64_t end = 0;
      for (int rank = 0; rank < ranks; ++rank) {
        const Slice slice = even_slice(total, ranks, rank);
        EXPECT_EQ(slice.begin, end);
        EXPECT_GE(slice.size(), total / ranks);
        EXPECT_LE(slice.size(), total / ranks + 1);
        end = slice.end;
      }
      EXPECT_EQ(end, total);
    }
  }
}

TEST(ShardLayoutTest, KeepsKeyValueGroupsWhole) {
  const HeadShard first = shard_heads(8, 4, 3, 0);
  EXPECT_EQ(first.kv_heads, (Slice{0, 2}));
  EXPECT_EQ(first.query_heads, (Slice{0, 4}));
  EXPECT_THAT(first.runs, ElementsAre(HeadRun{0, 2, 0, 2}));
  const HeadShard last = shard_heads(8, 4, 3, 2);
  EXPECT_EQ(last.kv_heads, (Slice{3, 4}));
  EXPECT_EQ(last.query_heads, (Slice{6, 8}));
}

TEST(ShardLayoutTest, ReplicatesKeyValueHeadsWhereThereAreMoreRanks) {
  for (int rank = 0; rank < 4; ++rank) {
    const HeadShard shard = shard_heads(4, 2, 4, rank);
    EXPECT_EQ(shard.query_heads, (Slice{rank, rank + 1}));
    EXPECT_EQ(shard.kv_heads, (Slice{rank / 2, rank / 2 + 1}));
  }
}

TEST(ShardLayoutTest, SeparatesHeadsThatShareUnequally) {
  // Query heads 0 1 2 use key/value head 0, 3 4 5 head 1; the second of four ranks holds 2 and 3.
  const HeadShard shard = shard_heads(6, 2, 4, 1);
  EXPECT_EQ(shard.query_heads, (Slice{2, 4}));
  EXPECT_EQ(shard.kv_heads, (Slice{0, 2}));
  EXPECT_THAT(shard.runs, ElementsAre(HeadRun{0, 2, 0, 1}));
  // Five query heads each; the second of three ranks holds 4 of head 0 and 5, 6 of head 1.
  const HeadShard uneven = shard_heads(10, 2, 3, 1);
  EXPECT_EQ(uneven.query_heads, (Slice{4, 7}));
  EXPECT_THAT(uneven.runs, ElementsAre(HeadRun{0, 1, 0, 1}, HeadRun{1, 1, 1, 2}));
}

TEST(ShardLayoutTest, EveryQueryHeadMeetsItsOwnKeyValueHead) {
  for (const auto& [heads, kv_heads] : {std::pair{8, 4}, {12, 3}, {6, 6}, {8, 1}, {10, 2}}) {
    for (int ranks = 1; ranks <= heads; ++ranks) {
      std::int64_t next_query = 0;
      for (int rank = 0; rank < ranks; ++rank) {
        const HeadShard shard = shard_heads(heads, kv_heads, ranks, rank);
        for (const HeadRun& run : shard.runs) {
          for (std::int64_t i = 0; i < run.num_query_heads(); ++i) {
            const std::int64_t query = shard.query_heads.begin + run.query_begin + i;
            const std::int64_t kv = shard.kv_heads.begin + run.kv_begin + i / run.queries_per_kv;
            EXPECT_EQ(query, next_query++);
            EXPECT_EQ(kv, query / (heads / kv_heads));
            EXPECT_LT(kv, shard.kv_heads.end);
          }
        }
      }
      EXPECT_EQ(next_query, heads);
    }
  }
}

TEST(ShardLayoutTest, TheFirstToHoldAKeyValueHeadIsOneRank) {
  for (const auto& [heads, kv_heads] :
       {std::pair{8, 4}, {12, 3}, {6, 6}, {8, 1}, {10, 2}, {6, 2}}) {
    for (int ranks = 1; ranks <= heads; ++ranks) {
      std::int64_t next = 0;  // the first head that no lower rank holds
      for (int rank = 0; rank < ranks; ++rank) {
        const HeadShard shard = shard_heads(heads, kv_heads, ranks, rank);
        EXPECT_EQ(shard.first_held_kv_heads.end, shard.kv_heads.end);
        EXPECT_EQ(shard.first_held_kv_heads.begin, std::max(next, shard.kv_heads.begin));
        EXPECT_GE(shard.first_held_kv_heads.size(), 0);
        next = shard.kv_heads.end;
      }
      EXPECT_EQ(next, kv_heads);
    }
  }
}

}  // namespace limn::test
