#include "sharding/communicator.h"

#include <time.h>

#include <chrono>
#include <cstring>
#include <string>
#include <thread>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sharding/agreement.h"
#include "sharding/local_communicator.h"
#include "sharding/mailbox.h"
#include "sharding/nccl_communicator.h"
#include "sharding/process_mesh.h"

namespace limn::test {

namespace {

// One body of tests for every implementation of a group.
struct WorldRanks {
  static std::unique_ptr<Communicator> make() { return world_communicator(); }
};

struct OneRank {
  static std::unique_ptr<Communicator> make() { return std::make_unique<LocalCommunicator>(); }
};

template <typename Ranks>
class CommunicatorTest : public testing::Test {
 protected:
  std::unique_ptr<Communicator> group = Ranks::make();
};

using Implementations = testing::Types<WorldRanks, OneRank>;
TYPED_TEST_SUITE(CommunicatorTest, Implementations);

// Processor seconds of this thread.
double thread_seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

}  // namespace

TYPED_TEST(CommunicatorTest, TellsPartnersThatOneGaveUp) {
  Communicator& ranks = *this->group;
  if (ranks.size() == 1) GTEST_SKIP() << "one rank has no partners";
  // Before the first, in the middle, and after the last collective of a piece of work.
  for (int gives_up_at = 0; gives_up_at <= 3; ++gives_up_at) {
    const bool gives_up = ranks.rank() == gives_up_at % ranks.size();
    int num_done = 0;
    const auto work = [&] {
      at::Tensor values = at::ones({3}, at::kFloat);
      for (; num_done < 3; ++num_done) {
        if (gives_up && num_done == gives_up_at) return ranks.give_up();
        ranks.all_reduce(values, ReduceOp::Sum);
      }
      if (gives_up) return ranks.give_up();
      ranks.meet();
    };
    if (gives_up) {
      work();
    } else {
      EXPECT_THROW(work(), PartnerGaveUp);
    }
    EXPECT_EQ(num_done, gives_up_at);
    // All are at the same place.
    at::Tensor sum = at::ones({1}, at::kFloat);
    ranks.all_reduce(sum, ReduceOp::Sum);
    EXPECT_EQ(sum.item<float>(), static_cast<float>(ranks.size()));
  }
}

TYPED_TEST(CommunicatorTest, SumsOverTheRanks) {
  Communicator& ranks = *this->group;
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble, at::kLong}) {
    at::Tensor values = at::arange(7, dtype) * (ranks.rank() + 1);
    ranks.all_reduce(values, ReduceOp::Sum);
    const int n = ranks.size();
    EXPECT_TRUE(at::equal(values, at::arange(7, dtype) * (n * (n + 1) / 2)));
  }
}

TYPED_TEST(CommunicatorTest, TakesTheLargestOfTheRanks) {
  Communicator& ranks = *this->group;
  at::Tensor values = at::full({3}, -5 + ranks.rank(), at::kFloat);
  ranks.all_reduce(values, ReduceOp::Max);
  EXPECT_TRUE(at::equal(values, at::full({3}, -5 + ranks.size() - 1, at::kFloat)));
}

TYPED_TEST(CommunicatorTest, GivesEveryRankTheSameBitsOfASum) {
  Communicator& ranks = *this->group;
  auto generator = at::detail::createCPUGenerator(17 + static_cast<unsigned>(ranks.rank()));
  for (const std::int64_t size : {1, 1000, 300'001}) {
    at::Tensor values = at::randn({size}, generator);
    ranks.all_reduce(values, ReduceOp::Sum);
    const at::Tensor everyone = ranks.all_gather(values);
    for (int rank = 0; rank < ranks.size(); ++rank) {
      EXPECT_TRUE(at::equal(everyone[rank], values)) << "rank " << rank << ", size " << size;
    }
  }
}

TYPED_TEST(CommunicatorTest, GathersInTheOrderOfTheRanks) {
  Communicator& ranks = *this->group;
  const at::Tensor gathered = ranks.all_gather(at::full({2, 3}, ranks.rank(), at::kLong));
  ASSERT_EQ(gathered.sizes(), (std::vector<std::int64_t>{ranks.size(), 2, 3}));
  for (int rank = 0; rank < ranks.size(); ++rank) {
    EXPECT_TRUE(at::equal(gathered[rank], at::full({2, 3}, rank, at::kLong)));
  }
}

TYPED_TEST(CommunicatorTest, BroadcastsFromAnyRank) {
  Communicator& ranks = *this->group;
  for (int root = 0; root < ranks.size(); ++root) {
    at::Tensor values = at::full({5}, 10.0 + ranks.rank(), at::kDouble);
    ranks.broadcast(values, root);
    EXPECT_TRUE(at::equal(values, at::full({5}, 10.0 + root, at::kDouble)));
  }
}

TEST(MpiCommunicatorTest, RefusesWhatItCannotSend) {
  const auto ranks = world_communicator();
  at::Tensor transposed = at::zeros({3, 4}).t();
  EXPECT_THROW(ranks->all_reduce(transposed, ReduceOp::Sum), InternalError);
  at::Tensor truth = at::zeros({3}, at::kBool);
  EXPECT_THROW(ranks->broadcast(truth, 0), InternalError);
}

TEST(MpiCommunicatorTest, CostsNothingWhileItWaitsForALateRank) {
  const auto ranks = world_communicator();
  if (ranks->size() == 1) GTEST_SKIP() << "nobody to wait for";
  at::Tensor values = at::zeros({1});
  const auto begin = std::chrono::steady_clock::now();
  const double processor_begin = thread_seconds();
  if (ranks->rank() == 0) std::this_thread::sleep_for(std::chrono::milliseconds(500));
  ranks->all_reduce(values, ReduceOp::Sum);
  const double waited =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  EXPECT_LT(thread_seconds() - processor_begin, 0.25 * waited);
}

TEST(AgreementTest, ReturnsTheResultWhenNobodyFails) {
  const auto ranks = world_communicator();
  EXPECT_EQ(agree(*ranks, [&] { return 10 + ranks->rank(); }), 10 + ranks->rank());
}

TEST(AgreementTest, FailsOnEveryRankWhenOneFails) {
  const auto ranks = world_communicator();
  const int failing = ranks->size() - 1;
  const auto step = [&] {
    if (ranks->rank() == failing) throw DataError("a bad file");
  };
  try {
    agree(*ranks, step);
    FAIL() << "agree() returned";
  } catch (const AgreedError& error) {
    EXPECT_EQ(error.exit_code(), ExitCode::BadData);
    EXPECT_EQ(error.speaks(), ranks->rank() == failing);
    EXPECT_STREQ(error.what(), error.speaks() ? "a bad file" : "another rank failed");
  }
}

TEST(AgreementTest, LetsOneOfSeveralFailedRanksSpeak) {
  const auto ranks = world_communicator();
  try {
    agree(*ranks, [&]() -> int { throw IoError("no such folder"); });
    FAIL() << "agree() returned";
  } catch (const AgreedError& error) {
    EXPECT_EQ(error.speaks(), ranks->rank() == 0);
    EXPECT_EQ(error.exit_code(), ExitCode::Io);
  }
}

namespace {

std::vector<std::byte> as_bytes(const std::string& text) {
  const auto* const begin = reinterpret_cast<const std::byte*>(text.data());
  return {begin, begin + text.size()};
}

}  // namespace

TEST(MailboxTest, DeliversLettersOfOneSenderInOrder) {
  const Mailbox mailbox = Mailbox::open();
  const auto ranks = world_communicator();
  const int next = (ranks->rank() + 1) % ranks->size();
  const int previous = (ranks->rank() + ranks->size() - 1) % ranks->size();
  for (const char* text : {"one", "", "three"})
    mailbox.send(next, 3, as_bytes(text));
  for (const char* text : {"one", "", "three"}) {
    const Letter letter = mailbox.receive(3);
    EXPECT_EQ(letter.from, previous);
    EXPECT_EQ(letter.bytes, as_bytes(text));
  }
}

TEST(MailboxTest, KeepsTagsApart) {
  const Mailbox mailbox = Mailbox::open();
  const auto ranks = world_communicator();
  mailbox.send(ranks->rank(), 1, as_bytes("first"));
  mailbox.send(ranks->rank(), 2, as_bytes("second"));
  EXPECT_EQ(mailbox.receive(2).bytes, as_bytes("second"));
  EXPECT_EQ(mailbox.receive(1).bytes, as_bytes("first"));
}

TEST(MailboxTest, GivesUpAfterAWhile) {
  const Mailbox mailbox = Mailbox::open();
  EXPECT_FALSE(mailbox.try_receive(1).has_value());
  EXPECT_FALSE(mailbox.receive_within(1, std::chrono::milliseconds(20)).has_value());
}

TEST(MailboxTest, CarriesLargeLettersBetweenThreads) {
  const Mailbox mailbox = Mailbox::open();
  const auto ranks = world_communicator();
  const std::string text(20'000'000, 'x');
  std::vector<std::byte> received;
  std::thread reader([&] { received = mailbox.receive(5).bytes; });
  mailbox.send((ranks->rank() + 1) % ranks->size(), 5, as_bytes(text));
  reader.join();
  EXPECT_EQ(received, as_bytes(text));
}

TEST(ProcessMeshTest, PutsConsecutiveRanksIntoAGroup) {
  const auto ranks = world_communicator();
  for (int t = 1; t <= ranks->size(); ++t) {
    if (ranks->size() % t != 0) continue;
    const ProcessMesh mesh = ProcessMesh::create(ranks->rank(), ranks->size(), t);
    EXPECT_EQ(mesh.group(), ranks->rank() / t);
    EXPECT_EQ(mesh.num_groups(), ranks->size() / t);
    EXPECT_EQ(mesh.tensor_ranks().size(), t);
    EXPECT_EQ(mesh.tensor_ranks().rank(), ranks->rank() % t);
    EXPECT_EQ(mesh.is_leader(), mesh.leader_of(mesh.group()) == ranks->rank());
    at::Tensor sum = at::full({1}, ranks->rank(), at::kLong);
    mesh.tensor_ranks().all_reduce(sum, ReduceOp::Sum);
    const int first = mesh.leader_of(mesh.group());
    EXPECT_EQ(sum.item<std::int64_t>(), t * first + t * (t - 1) / 2);
  }
}

TEST(ProcessMeshTest, RefusesATensorParallelThatDoesNotDivideTheRanks) {
  const auto ranks = world_communicator();
  const int too_many = ranks->size() + 1;
  EXPECT_THROW(ProcessMesh::create(ranks->rank(), ranks->size(), too_many), JobError);
}

TEST(NcclTest, SaysItsVersionWithoutAGpu) {
  EXPECT_THAT(nccl_version(), testing::StartsWith("2."));
}

}  // namespace limn::test
