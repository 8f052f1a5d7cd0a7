#include "launch/logging.h"

#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include "launch/terminal.h"
#include "storage/error.h"

namespace limn {

namespace {

spdlog::level::level_enum spdlog_level(LogLevel level) {
  switch (level) {
    case LogLevel::Trace:
      return spdlog::level::trace;
    case LogLevel::Debug:
      return spdlog::level::debug;
    case LogLevel::Info:
      return spdlog::level::info;
    case LogLevel::Warn:
      return spdlog::level::warn;
    case LogLevel::Error:
      return spdlog::level::err;
  }
  throw InternalError("a log level that there is not");
}

// Ranks do the same things at the same time: one of them tells.
LogLevel level_of_rank(LogLevel level, const LogRank& rank) {
  const bool is_quiet = rank.rank != 0 && level == LogLevel::Info;
  return is_quiet ? LogLevel::Warn : level;
}

std::string line_pattern(const LogRank& rank) {
  const std::string rank_text = rank.num_ranks > 1 ? fmt::format("[rank {}] ", rank.rank) : "";
  return fmt::format("[%Y-%m-%d %H:%M:%S.%e] {}[%^%l%$] %v", rank_text);
}

spdlog::sink_ptr error_sink(const std::string& pattern) {
  const Terminal terminal = describe_terminal(STDERR_FILENO);
  auto sink = std::make_shared<spdlog::sinks::stderr_color_sink_mt>(
      terminal.wants_colors ? spdlog::color_mode::automatic : spdlog::color_mode::never);
  // A log line takes the place of the progress line, which is then drawn again below it.
  sink->set_pattern(terminal.is_terminal ? "\r\x1b[K" + pattern : pattern);
  return sink;
}

spdlog::sink_ptr file_sink(const std::filesystem::path& path, const std::string& pattern) {
  try {
    auto sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path.string());
    sink->set_pattern(pattern);
    return sink;
  } catch (const spdlog::spdlog_ex& error) {
    throw IoError(fmt::format("{}: cannot open the log file: {}", path.string(), error.what()));
  }
}

}  // namespace

void set_up_logging(const LogOptions& options, const LogRank& rank) {
  const std::string pattern = line_pattern(rank);
  std::vector<spdlog::sink_ptr> sinks = {error_sink(pattern)};
  if (options.file) sinks.push_back(file_sink(*options.file, pattern));

  auto logger = std::make_shared<spdlog::logger>("limn", sinks.begin(), sinks.end());
  logger->set_level(spdlog_level(level_of_rank(options.level, rank)));
  logger->flush_on(spdlog::level::trace);
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace limn
