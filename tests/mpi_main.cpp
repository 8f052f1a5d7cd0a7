// The main of tests that run on several ranks: rank 0 prints, every rank's failures count. Where
// all tests were skipped it ends with 77, so that ctest says so.

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sharding/mpi_session.h"
#include "sharding/process_mesh.h"

namespace {

constexpr int kAllSkipped = 77;

// What a rank other than 0 prints: its failures.
class FailurePrinter : public testing::EmptyTestEventListener {
 public:
  explicit FailurePrinter(int rank) : rank_(rank) {}

  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (!result.failed()) return;
    std::fprintf(
        stderr,
        "rank %d: %s:%d: %s\n",
        rank_,
        result.file_name() != nullptr ? result.file_name() : "",
        result.line_number(),
        result.message());
  }

 private:
  int rank_;
};

}  // namespace

int main(int argc, char** argv) {
  limn::MpiSession session(&argc, &argv);
  testing::InitGoogleMock(&argc, argv);
  if (session.rank() != 0) {
    auto& listeners = testing::UnitTest::GetInstance()->listeners();
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new FailurePrinter(session.rank()));
  }
  const int failed = RUN_ALL_TESTS();
  at::Tensor failures = at::full({1}, failed, at::kLong);
  {
    const auto world = limn::world_communicator();
    world->all_reduce(failures, limn::ReduceOp::Max);
  }
  session.finalize();
  // One rank tells the launcher; the others would only add their noise.
  if (session.rank() != 0) return 0;
  if (failures.item<std::int64_t>() != 0) return 1;
  const auto& tests = *testing::UnitTest::GetInstance();
  const bool all_skipped =
      tests.skipped_test_count() > 0 && tests.skipped_test_count() == tests.test_to_run_count();
  return all_skipped ? kAllSkipped : 0;
}
