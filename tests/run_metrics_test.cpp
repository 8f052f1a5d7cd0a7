#include "launch/run_metrics.h"

#include <chrono>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/temporary_folder.h"

namespace limn::test {

namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

RunMetrics example_metrics() {
  return {
      .run = "/runs/a \"b\" \\ {c} 7\n",
      .version = "0.1.0",
      .samples = 100,
      .samples_done = 40,
      .start_time_s = 1'772'366'400.25,
      .rows_per_second = 1234.5};
}

}  // namespace

TEST(RunMetricsTest, AreInPrometheusTextFormat) {
  const std::string text = metrics_text(example_metrics());
  EXPECT_THAT(
      text,
      HasSubstr("# HELP limn_samples_done_total Samples that are done, failed and skipped ones "
                "included.\n"
                "# TYPE limn_samples_done_total counter\n"
                "limn_samples_done_total{run=\"/runs/a \\\"b\\\" \\\\ {c} 7\\n\"} 40\n"));
  EXPECT_THAT(text, HasSubstr("limn_start_timestamp_seconds{"));
  EXPECT_THAT(text, HasSubstr("} 1772366400.25\n"));
}

TEST(RunMetricsTest, LeaveOutWhatIsNotKnown) {
  EXPECT_THAT(metrics_text(example_metrics()), Not(HasSubstr("limn_time_left_seconds")));
  EXPECT_THAT(metrics_text(example_metrics()), Not(HasSubstr("limn_batches{")));
}

TEST(RunMetricsTest, AreReadAsTheyWereWritten) {
  const TemporaryFolder folder;
  EXPECT_THAT(read_metrics(metrics_path(folder.path())), IsEmpty());
  write_bytes(metrics_path(folder.path()), metrics_text(example_metrics()) + "limn_cut{run=\"/ru");
  auto values = read_metrics(metrics_path(folder.path()));
  EXPECT_EQ(values.at("limn_samples"), 100);
  EXPECT_EQ(values.at("limn_samples_done_total"), 40);
  EXPECT_EQ(values.at("limn_rows_per_second"), 1234.5);
  EXPECT_EQ(values.at("limn_start_timestamp_seconds"), 1'772'366'400.25);
  EXPECT_EQ(values.at("limn_up"), 1);
  EXPECT_EQ(values.count("limn_cut"), 0U);
}

TEST(MetricsFileTest, IsWrittenAtOnceAndWhenItIsAskedFor) {
  const TemporaryFolder folder;
  const auto path = metrics_path(folder.path());
  MetricsFile file(path, example_metrics());
  for (int i = 0; i < 1000 && read_metrics(path).empty(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(read_metrics(path)["limn_samples_done_total"], 40);
  EXPECT_GT(read_metrics(path)["limn_update_timestamp_seconds"], 1'772'366'400);
  file.update([](RunMetrics& metrics) { metrics.samples_done = 41; });
  file.write();
  EXPECT_EQ(read_metrics(path)["limn_samples_done_total"], 41);
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
    names.push_back(entry.path().filename());
  EXPECT_THAT(names, ElementsAre("metrics.prom"));
}

TEST(MetricsFileTest, ReadersNeverSeeHalfOfIt) {
  const TemporaryFolder folder;
  const auto path = metrics_path(folder.path());
  MetricsFile file(path, example_metrics());
  file.write();
  const std::size_t size = std::filesystem::file_size(path);
  std::jthread writer([&](const std::stop_token& stop) {
    while (!stop.stop_requested())
      file.write();
  });
  for (int i = 0; i < 500; ++i) {
    const std::string text = read_bytes(path);
    ASSERT_GT(text.size() + 20, size);
    ASSERT_EQ(text.back(), '\n');
  }
}

TEST(MetricsFileTest, AFolderThatIsMissingFailsNothing) {
  const TemporaryFolder folder;
  MetricsFile file(folder / "missing/metrics.prom", example_metrics());
  file.write();
  EXPECT_FALSE(std::filesystem::exists(folder / "missing"));
}

}  // namespace limn::test
