#include "launch/slurm_allocation.h"

#include <array>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <system_error>

#include <fmt/format.h>

namespace limn {

namespace {

std::optional<std::int64_t> number_of(std::string_view text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::optional<std::int64_t> number_in_environment(const char* name) {
  const char* const text = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): nobody sets any
  return text == nullptr ? std::nullopt : number_of(text);
}

// What a shell command prints; nothing where it cannot be started.
std::string output_of(const std::string& command) {
  struct Close {
    void operator()(FILE* file) const { ::pclose(file); }
  };

  const std::unique_ptr<FILE, Close> pipe(::popen(command.c_str(), "re"));
  std::string output;
  std::array<char, 4096> text{};
  while (pipe && std::fgets(text.data(), text.size(), pipe.get()) != nullptr)
    output += text.data();
  return output;
}

// The signals that limn takes are blocked in its children, too: only SIGKILL ends them in time.
//
// Lines of a job and its end, in seconds since the epoch or, without a limit, NONE. Who asks for
// the last job of an array is told of the whole array.
std::optional<std::int64_t> end_told_by_squeue(std::int64_t job) {
  std::istringstream lines(output_of(fmt::format(
      "SLURM_TIME_FORMAT=%s timeout -s KILL 10 squeue -h -j {} -o '%A %e' 2>/dev/null", job)));
  std::string id;
  std::string end;
  while (lines >> id >> end) {
    if (number_of(id) == job) return number_of(end);
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::chrono::system_clock::time_point> slurm_job_end() {
  const std::optional<std::int64_t> job = number_in_environment("SLURM_JOB_ID");
  if (!job) return std::nullopt;
  std::optional<std::int64_t> end = end_told_by_squeue(*job);
  if (!end) end = number_in_environment("SLURM_JOB_END_TIME");
  if (!end || *end <= 0) return std::nullopt;
  return std::chrono::system_clock::time_point(std::chrono::seconds(*end));
}

}  // namespace limn
