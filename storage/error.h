// What can go wrong, by whose side it is, and the exit code that it ends the program with.
#pragma once

#include <exception>
#include <stdexcept>
#include <string>

#include <fmt/format.h>

namespace limn {

// The exit codes of the program; scripts around it rely on the numbers.
enum class ExitCode : int {
  Done = 0,
  NoProgress = 1,  // stopped before anything was computed: starting again by itself would not help
  Usage = 64,
  BadData = 65,
  Internal = 70,
  Io = 74,
  Stopped = 75,
  BadJob = 78,
};

// Every error that limn throws itself. The message reads
//   where: what is wrong and what was expected; what to do: value
class Error : public std::runtime_error {
 public:
  ExitCode exit_code() const { return exit_code_; }

 protected:
  Error(ExitCode exit_code, const std::string& message)
      : std::runtime_error(message),
        exit_code_(exit_code) {}

 private:
  ExitCode exit_code_;
};

// The command line is wrong.
class UsageError : public Error {
 public:
  explicit UsageError(const std::string& message) : Error(ExitCode::Usage, message) {}
};

// The dataset, the checkpoint or a relevance file is wrong.
class DataError : public Error {
 public:
  explicit DataError(const std::string& message) : Error(ExitCode::BadData, message) {}
};

// The operating system refused: a file that is missing, a folder that cannot be written, a full
// disk.
class IoError : public Error {
 public:
  explicit IoError(const std::string& message) : Error(ExitCode::Io, message) {}
};

// The job file (or a flag that stands for one of its keys) is wrong, or does not fit this run.
class JobError : public Error {
 public:
  explicit JobError(const std::string& message) : Error(ExitCode::BadJob, message) {}
};

// An invariant of limn is broken: a bug.
class InternalError : public Error {
 public:
  explicit InternalError(const std::string& message) : Error(ExitCode::Internal, message) {}
};

// A format string that remembers where it was written.
template <typename... Args>
struct CheckText {
  template <typename Text>
  consteval CheckText(  // NOLINT(google-explicit-constructor): a literal must convert
      const Text& literal,
      const char* written_in = __builtin_FILE(),
      int written_at = __builtin_LINE())
      : text(literal),
        file(written_in),
        line(written_at) {}

  fmt::format_string<Args...> text;
  const char* file;
  int line;
};

// Throws InternalError with the caller's file and line unless `holds`. Never compiled out.
template <typename... Args>
void check(bool holds, CheckText<std::type_identity_t<Args>...> text, const Args&... values) {
  if (!holds) {
    const std::string message =
        fmt::vformat(fmt::string_view(text.text), fmt::make_format_args(values...));
    throw InternalError(fmt::format("{}:{}: {}", text.file, text.line, message));
  }
}

// The exit code and message of any exception: limn's own, or InternalError's for all others.
struct FailureText {
  ExitCode exit_code;
  std::string message;
};

FailureText failure_text(std::exception_ptr failure);

}  // namespace limn
