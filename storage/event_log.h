// RUN/events.jsonl: what happened in all starts of a run, for programs that want to know.
//
//   {"time": "2026-03-01T12:00:00.000Z", "event": "sealed", "part": "part-000003.h5", ...}
//
// docs/run-directory.md specifies the events.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "storage/durable_file.h"

namespace limn {

std::filesystem::path event_log_path(const std::filesystem::path& run_folder);

// Appends lines to the log, each whole by one call of the system: processes that append to the same
// file do not mix theirs. Nothing is synced: what a crash of the machine takes is gone. A run must
// not fail over its log, so that an error is a warning, the first time. Threads: any thread.
class EventLog {
 public:
  // Opens nothing yet: the first event creates the file, in a folder that is there.
  explicit EventLog(std::filesystem::path path) : path_(std::move(path)) {}

  // Appends the time, the event's name and its fields, in their order. Text that is not UTF-8 is
  // mended. Requires: `fields` is an object, or null.
  void append(std::string_view event, const nlohmann::ordered_json& fields = {}) noexcept;

 private:
  void open();
  void write(std::string line);

  std::filesystem::path path_;
  std::mutex mutex_;  // guards what follows
  std::optional<FileDescriptor> file_;
  bool ends_in_a_cut_line_ = false;
  bool has_warned_ = false;
};

// Hands every event to `take`, in the order of their lines. Lines that a crash or a full disk has
// cut are passed over, as are those that name no event; a file that is not there has none. Throws
// IoError.
void read_events(
    const std::filesystem::path& path, const std::function<void(const nlohmann::json&)>& take);

// "2026-03-01T12:00:00.000Z", and back: nothing for any other text.
using SystemTime = std::chrono::system_clock::time_point;
std::string utc_text(SystemTime time);
std::optional<SystemTime> time_of_utc_text(const std::string& text);

}  // namespace limn
