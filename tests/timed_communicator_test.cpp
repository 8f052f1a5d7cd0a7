#include "sharding/timed_communicator.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "sharding/process_mesh.h"

namespace limn::test {

TEST(TimedCommunicatorTest, CommunicatesAsTheOtherDoes) {
  const auto world = world_communicator();
  TimedCommunicator timed(*world, at::kCPU);
  EXPECT_EQ(timed.rank(), world->rank());
  EXPECT_EQ(timed.size(), world->size());
  const double ranks = world->size();
  for (const bool is_measured : {false, true}) {
    if (is_measured) timed.start();
    at::Tensor values = at::full({3}, world->rank() + 1, at::kDouble);
    timed.all_reduce(values, ReduceOp::Max);
    EXPECT_TRUE(at::equal(values, at::full({3}, ranks, at::kDouble)));
    timed.broadcast(values, 0);
    EXPECT_EQ(timed.all_gather(values).numel(), 3 * world->size());
  }
}

TEST(TimedCommunicatorTest, CountsWhatIsGivenBetweenStartAndStop) {
  const auto world = world_communicator();
  TimedCommunicator timed(*world, at::kCPU);
  at::Tensor values = at::zeros({10}, at::kFloat);
  timed.all_reduce(values, ReduceOp::Sum);
  timed.start();
  timed.all_reduce(values, ReduceOp::Sum);
  timed.all_gather(values);
  const TimedCommunicator::Total total = timed.stop();
  timed.all_reduce(values, ReduceOp::Sum);
  EXPECT_EQ(total.calls, 2);
  EXPECT_EQ(total.bytes, 80);
  EXPECT_GT(total.seconds, 0);

  timed.start();
  EXPECT_EQ(timed.stop().calls, 0);
}

}  // namespace limn::test
