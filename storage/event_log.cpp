#include "storage/event_log.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <exception>
#include <fstream>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "storage/error.h"

namespace limn {

namespace {

using nlohmann::json;
using nlohmann::ordered_json;

std::string line_of(std::string_view event, const ordered_json& fields) {
  ordered_json line = {{"time", utc_text(std::chrono::system_clock::now())}, {"event", event}};
  if (!fields.is_null()) line.update(fields);
  return line.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

bool ends_in_a_cut_line(const FileDescriptor& file) {
  const off_t size = ::lseek(file.get(), 0, SEEK_END);
  char last = '\n';
  return size > 0 && ::pread(file.get(), &last, 1, size - 1) == 1 && last != '\n';
}

// An event, unless the line was cut or is something else.
std::optional<json> event_of(const std::string& line) {
  json event = json::parse(line, nullptr, false);
  const bool is_event = event.is_object() && event.contains("event") && event["event"].is_string();
  if (!is_event) return std::nullopt;
  return event;
}

}  // namespace

std::filesystem::path event_log_path(const std::filesystem::path& run_folder) {
  return run_folder / "events.jsonl";
}

void EventLog::append(std::string_view event, const ordered_json& fields) noexcept {
  const std::lock_guard lock(mutex_);
  try {
    if (!file_) open();
    write(line_of(event, fields));
  } catch (const std::exception& error) {
    if (!std::exchange(has_warned_, true)) {
      spdlog::warn("the run goes on without the log of its events: {}", error.what());
    }
  }
}

void EventLog::open() {
  file_.emplace(path_, O_RDWR | O_APPEND | O_CREAT);
  ends_in_a_cut_line_ = ends_in_a_cut_line(*file_);
}

void EventLog::write(std::string line) {
  // What was cut stays alone on its line, for readers to drop.
  if (ends_in_a_cut_line_) line.insert(line.begin(), '\n');
  ssize_t written = 0;
  do {
    written = ::write(file_->get(), line.data(), line.size());
  } while (written < 0 && errno == EINTR);
  if (written < 0) throw_errno(path_, "cannot be written");
  ends_in_a_cut_line_ = written > 0 && line[static_cast<std::size_t>(written) - 1] != '\n';
  if (static_cast<std::size_t>(written) < line.size()) {
    throw IoError(fmt::format("{}: a line was written in part; the disk is full", path_.string()));
  }
}

void read_events(const std::filesystem::path& path, const std::function<void(const json&)>& take) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    const int reason = errno;
    std::error_code unknown;
    if (!std::filesystem::exists(path, unknown) && !unknown) return;
    errno = reason;
    throw_errno(path, "cannot be opened");
  }
  for (std::string line; std::getline(file, line);) {
    if (const auto event = event_of(line)) take(*event);
  }
  if (file.bad()) throw_errno(path, "cannot be read");
}

std::string utc_text(SystemTime time) {
  const auto since_1970 = std::chrono::floor<std::chrono::milliseconds>(time.time_since_epoch());
  const auto seconds = std::chrono::floor<std::chrono::seconds>(since_1970);
  const std::time_t whole = seconds.count();
  std::tm utc{};
  ::gmtime_r(&whole, &utc);
  std::array<char, 32> text{};
  ::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &utc);
  return fmt::format("{}.{:03}Z", text.data(), (since_1970 - seconds).count());
}

std::optional<SystemTime> time_of_utc_text(const std::string& text) {
  constexpr std::size_t kSecondsEnd = 19;
  std::tm utc{};
  const char* const rest = ::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &utc);
  const bool is_time = rest == text.c_str() + kSecondsEnd && text.size() == kSecondsEnd + 5 &&
                       text[kSecondsEnd] == '.' && text.back() == 'Z' &&
                       text.find_first_not_of("0123456789", kSecondsEnd + 1) == text.size() - 1;
  if (!is_time) return std::nullopt;
  const std::chrono::milliseconds milliseconds(std::stoi(text.substr(kSecondsEnd + 1, 3)));
  return std::chrono::system_clock::from_time_t(::timegm(&utc)) + milliseconds;
}

}  // namespace limn
