// RUN/metrics.prom: how far a run is, for monitoring that reads Prometheus's text format (the
// textfile collector of its node_exporter, for example). docs/status.md lists the metrics.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

namespace limn {

std::filesystem::path metrics_path(const std::filesystem::path& run_folder);

// What is not known is left out. Times are seconds since 1970.
struct RunMetrics {
  std::string run;      // label: the run directory
  std::string version;  // label: of limn
  // The whole run. Of what is computed, all but what was lost when an earlier start was killed.
  std::optional<std::int64_t> samples;
  std::optional<std::int64_t> batches;
  std::int64_t samples_done = 0;  // failed and skipped ones included
  std::int64_t samples_failed = 0;
  std::int64_t samples_skipped = 0;
  std::int64_t batches_done = 0;
  std::optional<std::int64_t> prompts_answered;  // where the model gives the targets
  // This start.
  double start_time_s = 0;
  double update_time_s = 0;
  std::optional<std::int64_t> rows;  // that it has to compute
  std::int64_t rows_done = 0;
  std::optional<double> rows_per_second;
  std::optional<double> time_left_s;
  std::int64_t parts_sealed = 0;
  std::optional<double> last_seal_time_s;
  bool is_up = true;
  bool is_complete = false;
};

// The file's text.
std::string metrics_text(const RunMetrics& metrics);

// The values of a file that metrics_text() made, by the metric's name. A file that is not there or
// cannot be read has none: it is replaced while it is looked at.
std::map<std::string, double> read_metrics(const std::filesystem::path& path);

// Writes the metrics every 15 seconds, on a thread of its own: a slow disk keeps nobody waiting.
// Readers see the old or the new file, whole. What cannot be written is a warning, the first time.
// Threads: any thread.
class MetricsFile {
 public:
  MetricsFile(std::filesystem::path path, RunMetrics metrics);
  ~MetricsFile();
  MetricsFile(const MetricsFile&) = delete;
  MetricsFile& operator=(const MetricsFile&) = delete;

  // Has `change` alter the metrics, which it is handed alone.
  template <typename Change>
  void update(const Change& change) {
    const std::lock_guard lock(mutex_);
    change(metrics_);
  }

  // Writes them at once, before it returns.
  void write() noexcept;

 private:
  void write_until_it_ends();

  std::filesystem::path path_;
  std::mutex mutex_;  // guards metrics_ and ends_
  RunMetrics metrics_;
  bool ends_ = false;
  std::condition_variable end_;
  std::mutex writing_;  // guards has_warned_ and the temporary file
  bool has_warned_ = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace limn
