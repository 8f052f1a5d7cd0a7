#include "sharding/device_choice.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sharding/gpu.h"
#include "storage/error.h"

namespace limn::test {

namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Optional;

using Seen = std::vector<std::vector<GpuId>>;

GpuId gpu(char name) {
  return {.bytes = {name}};
}

// What rank `rank_on_node` knows where the whole world is one node.
KnownGpus one_node(const Seen& seen, int rank_on_node) {
  KnownGpus known{
      .seen_on_node = seen,
      .rank_on_node = rank_on_node,
      .node = "node7",
      .absence = "no NVIDIA driver",
      .some_rank_sees = false,
      .all_ranks_see = true};
  for (const std::vector<GpuId>& ids : seen) {
    known.some_rank_sees |= !ids.empty();
    known.all_ranks_see &= !ids.empty();
  }
  return known;
}

// The choice of every rank of a node, each by itself.
std::vector<std::optional<int>> choices(const Seen& seen) {
  std::vector<std::optional<int>> chosen;
  for (std::size_t rank = 0; rank < seen.size(); ++rank)
    chosen.push_back(choose_gpu("auto", one_node(seen, static_cast<int>(rank))));
  return chosen;
}

std::string refusal(std::string_view wanted, const KnownGpus& known) {
  try {
    choose_gpu(wanted, known);
  } catch (const JobError& error) {
    return error.what();
  }
  return "no JobError";
}

const std::vector<GpuId> kAll = {gpu('a'), gpu('b'), gpu('c'), gpu('d')};

}  // namespace

TEST(DeviceChoiceTest, RanksThatSeeTheSameGpusTakeOneEach) {
  EXPECT_THAT(
      choices({kAll, kAll, kAll, kAll}),
      ElementsAre(Optional(0), Optional(1), Optional(2), Optional(3)));
  EXPECT_THAT(choices({kAll, kAll}), ElementsAre(Optional(0), Optional(1)));
}

TEST(DeviceChoiceTest, ARankThatSeesItsOwnTakesIt) {
  EXPECT_THAT(
      choices({{gpu('a')}, {gpu('b')}, {gpu('c')}}),
      ElementsAre(Optional(0), Optional(0), Optional(0)));
}

TEST(DeviceChoiceTest, ARankThatSeesFewerGpusChoosesBeforeOneThatSeesMore) {
  EXPECT_THAT(choices({{gpu('a'), gpu('b')}, {gpu('a')}}), ElementsAre(Optional(1), Optional(0)));
}

TEST(DeviceChoiceTest, RanksOfASocketShareItsGpus) {
  const std::vector<GpuId> first = {gpu('a'), gpu('b')};
  const std::vector<GpuId> second = {gpu('c'), gpu('d')};
  EXPECT_THAT(
      choices({first, first, second, second}),
      ElementsAre(Optional(0), Optional(1), Optional(0), Optional(1)));
  EXPECT_THAT(
      choices({first, second, first, second}),
      ElementsAre(Optional(0), Optional(0), Optional(1), Optional(1)));
}

TEST(DeviceChoiceTest, NumbersDifferFromRankToRank) {
  EXPECT_THAT(
      choices({{gpu('a'), gpu('b')}, {gpu('a'), gpu('b')}, {gpu('b'), gpu('a'), gpu('c')}}),
      ElementsAre(Optional(0), Optional(1), Optional(2)));
}

TEST(DeviceChoiceTest, MoreRanksThanGpusAreRefusedOnEveryRankOfTheNode) {
  for (const int rank : {0, 1, 2}) {
    for (const char* const wanted : {"auto", "cuda"}) {
      EXPECT_EQ(
          refusal(
              wanted,
              one_node({{gpu('a'), gpu('b')}, {gpu('a'), gpu('b')}, {gpu('a'), gpu('b')}}, rank)),
          "parallel.device wants a GPU for every rank of a node; start as many ranks as it has "
          "GPUs, or set it to cpu: ranks: 3, GPUs: 2 on node7");
    }
  }
}

TEST(DeviceChoiceTest, WithoutGpusAutoIsTheCpuAndCudaIsRefused) {
  const KnownGpus none = one_node({{}, {}}, 1);
  EXPECT_EQ(choose_gpu("auto", none), std::nullopt);
  EXPECT_EQ(
      refusal("cuda", none),
      "parallel.device is cuda and there is no GPU; start where there are some, or set it to cpu: "
      "no NVIDIA driver");
}

TEST(DeviceChoiceTest, GpusThatOnlySomeRanksSeeAreRefused) {
  EXPECT_THAT(
      refusal("auto", one_node({{gpu('a')}, {}}, 1)),
      AllOf(HasSubstr("parallel.device"), HasSubstr("no NVIDIA driver on node7")));
  EXPECT_THAT(refusal("cuda", one_node({{gpu('a')}, {}}, 0)), HasSubstr("GPUs: 1 on node7"));
  // This node has none, another has.
  KnownGpus elsewhere = one_node({{}}, 0);
  elsewhere.some_rank_sees = true;
  EXPECT_THAT(refusal("auto", elsewhere), HasSubstr("others none"));
}

TEST(DeviceChoiceTest, TheCpuIsTakenWhateverThereIs) {
  EXPECT_EQ(choose_gpu("cpu", one_node({kAll, kAll}, 0)), std::nullopt);
  EXPECT_EQ(choose_gpu("cpu", one_node({{}, {gpu('a')}}, 0)), std::nullopt);
}

// ctest hides the GPUs of the machine from this test.
TEST(GpuTest, SaysWhyNoneIsSeen) {
  const VisibleGpus visible = find_visible_gpus();
  ASSERT_THAT(visible.ids, IsEmpty());
  EXPECT_FALSE(visible.is_fault);
  EXPECT_THAT(
      visible.absence, testing::AnyOf("no NVIDIA driver", "CUDA_VISIBLE_DEVICES=\"-1\" hides all"));
}

TEST(GpuTest, LoadsSupportForThePrograms) {
  const at::Tensor before = at::ones({2, 2}).matmul(at::ones({2, 2}));
  load_gpu_support();
  load_gpu_support();
  EXPECT_TRUE(at::Context::hasCUDART());
  EXPECT_EQ(at::Context::versionCUDART() / 1000, 13);
  EXPECT_EQ(device_text(at::kCPU), "cpu");
  EXPECT_TRUE(at::equal(before, at::full({2, 2}, 2.0)));
}

}  // namespace limn::test
