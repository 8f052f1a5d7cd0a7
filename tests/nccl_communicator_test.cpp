// NCCL's communicator on real GPUs: on each rank's own, or, for one rank, on the only one.

#include "sharding/nccl_communicator.h"

#include <memory>
#include <optional>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sharding/agreement.h"
#include "sharding/device_choice.h"
#include "sharding/gpu.h"
#include "sharding/process_mesh.h"

namespace limn::test {

namespace {

using testing::HasSubstr;

constexpr at::ScalarType kDtypes[] = {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf, at::kLong};

class NcclCommunicatorTest : public testing::Test {
 protected:
  // Skips on all ranks or on none.
  void SetUp() override {
    const auto world = world_communicator();
    try {
      device = agree(*world, [] { return choose_device("cuda"); });
    } catch (const AgreedError& error) {
      if (error.exit_code() != ExitCode::BadJob) throw;
      GTEST_SKIP() << error.what();
    }
    group.emplace(MpiComm::duplicate_world(), device);
  }

  at::TensorOptions options(at::ScalarType dtype) const {
    return at::TensorOptions().dtype(dtype).device(device);
  }

  at::Device device = at::kCPU;
  std::optional<NcclCommunicator> group;
};

}  // namespace

TEST_F(NcclCommunicatorTest, SumsOverTheRanks) {
  const int n = group->size();
  for (const at::ScalarType dtype : kDtypes) {
    at::Tensor values = at::arange(7, options(dtype)) * (group->rank() + 1);
    group->all_reduce(values, ReduceOp::Sum);
    EXPECT_TRUE(at::equal(values.cpu(), at::arange(7, dtype) * (n * (n + 1) / 2)))
        << c10::toString(dtype);
  }
}

TEST_F(NcclCommunicatorTest, TakesTheLargestOfTheRanks) {
  for (const at::ScalarType dtype : kDtypes) {
    at::Tensor values = at::full({3}, -5 + group->rank(), options(dtype));
    group->all_reduce(values, ReduceOp::Max);
    EXPECT_TRUE(at::equal(values.cpu(), at::full({3}, -5 + group->size() - 1, dtype)))
        << c10::toString(dtype);
  }
}

TEST_F(NcclCommunicatorTest, GivesEveryRankTheSameBitsOfASum) {
  for (const std::int64_t size : {1, 1000, 300'001}) {
    auto generator = at::detail::createCPUGenerator(17 + static_cast<unsigned>(group->rank()));
    at::Tensor values = at::randn({size}, generator).to(device);
    group->all_reduce(values, ReduceOp::Sum);
    const at::Tensor everyone = group->all_gather(values);
    for (int rank = 0; rank < group->size(); ++rank) {
      EXPECT_TRUE(at::equal(everyone[rank], values)) << "rank " << rank << ", size " << size;
    }
  }
}

TEST_F(NcclCommunicatorTest, GathersInTheOrderOfTheRanks) {
  for (const at::ScalarType dtype : kDtypes) {
    const at::Tensor gathered =
        group->all_gather(at::full({2, 3}, group->rank() + 1, options(dtype)));
    ASSERT_EQ(gathered.sizes(), (std::vector<std::int64_t>{group->size(), 2, 3}));
    EXPECT_EQ(gathered.device(), device);
    for (int rank = 0; rank < group->size(); ++rank) {
      EXPECT_TRUE(at::equal(gathered[rank].cpu(), at::full({2, 3}, rank + 1, dtype)))
          << c10::toString(dtype);
    }
  }
}

TEST_F(NcclCommunicatorTest, BroadcastsFromAnyRank) {
  for (const at::ScalarType dtype : kDtypes) {
    for (int root = 0; root < group->size(); ++root) {
      at::Tensor values = at::full({5}, 10 * group->rank() + 3, options(dtype));
      group->broadcast(values, root);
      EXPECT_TRUE(at::equal(values.cpu(), at::full({5}, 10 * root + 3, dtype)))
          << c10::toString(dtype) << " from " << root;
    }
  }
}

TEST_F(NcclCommunicatorTest, TakesTensorsWithoutElements) {
  at::Tensor nothing = at::empty({0, 4}, options(at::kFloat));
  group->all_reduce(nothing, ReduceOp::Sum);
  group->broadcast(nothing, 0);
  EXPECT_EQ(group->all_gather(nothing).sizes(), (std::vector<std::int64_t>{group->size(), 0, 4}));
}

// Between kernels of ATen, hundreds deep, without the host between them.
TEST_F(NcclCommunicatorTest, KeepsItsPlaceOnTheStream) {
  constexpr int kTimes = 300;
  const int n = group->size();
  at::Tensor values = at::full({1 << 20}, 1.0, options(at::kDouble));
  for (int i = 0; i < kTimes; ++i) {
    values.mul_(2).div_(2 * n);
    group->all_reduce(values, ReduceOp::Sum);
    values.add_(1);
  }
  group->synchronize();
  EXPECT_TRUE(at::equal(values.cpu(), at::full({1 << 20}, 1.0 + kTimes, at::kDouble)));
}

TEST_F(NcclCommunicatorTest, RefusesWhatItDoesNotTake) {
  at::Tensor on_cpu = at::ones({3});
  EXPECT_THROW(group->all_reduce(on_cpu, ReduceOp::Sum), InternalError);
  EXPECT_THROW(group->all_gather(on_cpu), InternalError);
  EXPECT_THROW(group->broadcast(on_cpu, 0), InternalError);
  at::Tensor flags = at::ones({3}, options(at::kBool));
  EXPECT_THROW(group->all_reduce(flags, ReduceOp::Max), InternalError);
  at::Tensor turned = at::ones({3, 2}, options(at::kFloat)).t();
  EXPECT_THROW(group->all_reduce(turned, ReduceOp::Sum), InternalError);
  // Nothing of this harmed the group.
  at::Tensor values = at::ones({3}, options(at::kFloat));
  group->all_reduce(values, ReduceOp::Sum);
  EXPECT_TRUE(at::equal(values.cpu(), at::full({3}, group->size(), at::kFloat)));
}

TEST_F(NcclCommunicatorTest, ACallThatNcclRefusesEndsTheGroup) {
  at::Tensor values = at::ones({3}, options(at::kFloat));
  try {
    group->broadcast(values, group->size());  // no such rank
    FAIL() << "nothing thrown";
  } catch (const InternalError& error) {
    EXPECT_THAT(error.what(), HasSubstr("ncclBroadcast failed: "));
    EXPECT_THAT(
        error.what(), HasSubstr(fmt::format("tensor rank {} of {}", group->rank(), group->size())));
  }
  EXPECT_THROW(group->all_reduce(values, ReduceOp::Sum), InternalError);
  EXPECT_THROW(group->synchronize(), InternalError);
}

TEST_F(NcclCommunicatorTest, GroupsComeAndGo) {
  for (int i = 0; i < 3; ++i) {
    NcclCommunicator other(MpiComm::duplicate_world(), device);
    at::Tensor values = at::ones({3}, options(at::kFloat));
    other.all_reduce(values, ReduceOp::Sum);
    EXPECT_TRUE(at::equal(values.cpu(), at::full({3}, other.size(), at::kFloat)));
  }
}

TEST_F(NcclCommunicatorTest, IsLeftInTheMiddleOfAnError) {
  try {
    NcclCommunicator other(MpiComm::duplicate_world(), device);
    at::Tensor values = at::ones({1 << 20}, options(at::kFloat));
    other.all_reduce(values, ReduceOp::Sum);
    throw DataError("something else");
  } catch (const DataError& error) {
    EXPECT_STREQ(error.what(), "something else");
  }
}

TEST_F(NcclCommunicatorTest, AMeshOfGpusTalksThroughIt) {
  const auto world = world_communicator();
  const ProcessMesh mesh = ProcessMesh::create(world->rank(), world->size(), world->size(), device);
  at::Tensor values = at::ones({3}, options(at::kBFloat16));
  mesh.tensor_ranks().all_reduce(values, ReduceOp::Sum);
  mesh.tensor_ranks().synchronize();
  EXPECT_TRUE(at::equal(values.cpu(), at::full({3}, world->size(), at::kBFloat16)));
}

// Needs no more than one GPU.
TEST(NcclTest, TwoRanksOnOneGpuFailTogether) {
  const auto world = world_communicator();
  if (world->size() < 2 || find_visible_gpus().ids.empty()) {
    GTEST_SKIP() << "wants two ranks and a GPU";
  }
  const at::Device device = use_gpu(0);
  try {
    const NcclCommunicator group(MpiComm::duplicate_world(), device);
    FAIL() << "nothing thrown";
  } catch (const InternalError& error) {
    EXPECT_THAT(error.what(), HasSubstr("ncclCommInitRankConfig failed: "));
  }
}

}  // namespace limn::test
