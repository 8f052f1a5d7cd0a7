// The log: spdlog's default logger, told how to write.
#pragma once

#include <filesystem>
#include <optional>

namespace limn {

// In the order of growing weight.
enum class LogLevel { Trace, Debug, Info, Warn, Error };

struct LogOptions {
  LogLevel level = LogLevel::Info;
  std::optional<std::filesystem::path> file;  // in addition to the standard error
};

// The place of this process among those that run together.
struct LogRank {
  int rank = 0;
  int num_ranks = 1;
};

// Makes spdlog's default logger write to the standard error and append to the file, if any; may be
// called again, for example once the rank is known. Lines name the rank when there is more than
// one. Ranks other than 0 write only warnings and errors, unless the level is Debug or Trace. Every
// line is handed to the system at once, so that a killed process leaves its last words. Throws
// IoError when the file cannot be opened.
void set_up_logging(const LogOptions& options, const LogRank& rank);

}  // namespace limn
