#include "launch/run_metrics.h"

#include <fcntl.h>

#include <chrono>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "storage/durable_file.h"

namespace limn {

namespace {

namespace fs = std::filesystem;

constexpr auto kWriteEvery = std::chrono::seconds(15);

// As Prometheus wants a label's value.
std::string escaped(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '\\' || c == '"') escaped += '\\';
    escaped += c == '\n' ? std::string_view("\\n") : std::string_view(&c, 1);
  }
  return escaped;
}

// The file as it grows, metric by metric.
class MetricsText {
 public:
  explicit MetricsText(const RunMetrics& metrics)
      : run_(fmt::format("run=\"{}\"", escaped(metrics.run))) {}

  void counter(std::string_view name, std::string_view help, std::int64_t value) {
    append(name, help, "counter", run_, fmt::to_string(value));
  }

  template <typename Value>
  void gauge(std::string_view name, std::string_view help, Value value) {
    append(name, help, "gauge", run_, fmt::format("{:.15g}", static_cast<double>(value)));
  }

  template <typename Value>
  void gauge(std::string_view name, std::string_view help, const std::optional<Value>& value) {
    if (value) gauge(name, help, *value);
  }

  // A metric that says something by a label.
  void info(
      std::string_view name, std::string_view help, std::string_view key, std::string_view text) {
    append(name, help, "gauge", fmt::format("{},{}=\"{}\"", run_, key, escaped(text)), "1");
  }

  std::string take() { return std::move(text_); }

 private:
  void append(
      std::string_view name,
      std::string_view help,
      std::string_view type,
      std::string_view labels,
      std::string_view value) {
    text_ += fmt::format(
        "# HELP {0} {1}\n# TYPE {0} {2}\n{0}{{{3}}} {4}\n", name, help, type, labels, value);
  }

  std::string run_;
  std::string text_;
};

double seconds_since_1970() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

void replace_file(const fs::path& path, std::string_view text) {
  TemporaryFile temporary(path);
  write_text(FileDescriptor(temporary.path(), O_WRONLY | O_CREAT), temporary.path(), text);
  // Not synced: after a crash of the machine nobody is up whom it could tell of.
  temporary.rename(Durability::ProcessAlone);
}

}  // namespace

fs::path metrics_path(const fs::path& run_folder) {
  return run_folder / "metrics.prom";
}

std::string metrics_text(const RunMetrics& metrics) {
  MetricsText text(metrics);
  text.info("limn_run_info", "The limn that computes the run.", "version", metrics.version);
  text.gauge("limn_up", "Whether a start of the run is at work.", metrics.is_up);
  text.gauge("limn_complete", "Whether the result is there.", metrics.is_complete);
  text.gauge("limn_samples", "Samples of the dataset.", metrics.samples);
  text.counter(
      "limn_samples_done_total",
      "Samples that are done, failed and skipped ones included.",
      metrics.samples_done);
  text.counter(
      "limn_samples_failed_total", "Samples that cannot be explained.", metrics.samples_failed);
  text.counter(
      "limn_samples_skipped_total",
      "Samples whose records cannot be explained.",
      metrics.samples_skipped);
  if (metrics.prompts_answered) {
    text.counter(
        "limn_prompts_answered_total",
        "Prompts whose targets the model gave.",
        *metrics.prompts_answered);
  }
  text.gauge("limn_batches", "Batches of the run.", metrics.batches);
  text.counter("limn_batches_done_total", "Batches that are done.", metrics.batches_done);
  text.gauge("limn_rows", "Rows that this start has to compute.", metrics.rows);
  text.counter("limn_rows_done_total", "Rows that this start computed.", metrics.rows_done);
  text.gauge("limn_rows_per_second", "The rate of this start.", metrics.rows_per_second);
  text.gauge(
      "limn_time_left_seconds", "What is left, at the rate of this start.", metrics.time_left_s);
  text.counter("limn_parts_sealed_total", "Parts that this start sealed.", metrics.parts_sealed);
  text.gauge(
      "limn_last_seal_timestamp_seconds",
      "When this start sealed its last part.",
      metrics.last_seal_time_s);
  text.gauge("limn_start_timestamp_seconds", "When this start began.", metrics.start_time_s);
  text.gauge("limn_update_timestamp_seconds", "When this file was written.", metrics.update_time_s);
  return text.take();
}

std::map<std::string, double> read_metrics(const fs::path& path) {
  std::map<std::string, double> values;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    // A path may hold anything, a brace or a space too: the value is behind the last.
    const std::size_t labels = line.find('{');
    const std::size_t value = line.rfind(' ');
    if (line.starts_with('#') || labels == std::string::npos || value == std::string::npos)
      continue;
    char* end = nullptr;
    const double number = std::strtod(line.c_str() + value, &end);
    if (*end == '\0') values.insert_or_assign(line.substr(0, labels), number);
  }
  return values;
}

MetricsFile::MetricsFile(fs::path path, RunMetrics metrics)
    : path_(std::move(path)),
      metrics_(std::move(metrics)),
      thread_([this] { write_until_it_ends(); }) {}

MetricsFile::~MetricsFile() {
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  end_.notify_all();
  thread_.join();
}

void MetricsFile::write() noexcept {
  const std::lock_guard writing(writing_);
  try {
    std::string text;
    {
      const std::lock_guard lock(mutex_);
      metrics_.update_time_s = seconds_since_1970();
      text = metrics_text(metrics_);
    }
    replace_file(path_, text);
  } catch (const std::exception& error) {
    if (!std::exchange(has_warned_, true))
      spdlog::warn("the run goes on without its metrics: {}", error.what());
  }
}

void MetricsFile::write_until_it_ends() {
  std::unique_lock lock(mutex_);
  while (!ends_) {
    lock.unlock();
    write();
    lock.lock();
    end_.wait_for(lock, kWriteEvery, [this] { return ends_; });
  }
}

}  // namespace limn
