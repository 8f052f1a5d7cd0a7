// RUN/targets.jsonl: what the model answered, durable before anything of it is explained.
//
//   {"record": 0, "target_ids": [3681, 13], "target": " Paris.", "xxh3": "3f0c2a9d41b7e658"}
//
// One line a record, in the dataset's order; docs/run-directory.md specifies it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "storage/durable_file.h"

namespace limn {

std::filesystem::path generated_targets_path(const std::filesystem::path& run_folder);

struct GeneratedTargetLine {
  std::int64_t record_index = 0;  // counts the dataset's records from 0, behind data.skip
  std::vector<std::int32_t> target_ids;
  std::string target;  // for a person who looks

  bool operator==(const GeneratedTargetLine&) const = default;
};

// Reads the file once, from its first line to its last. Threads: one thread at a time.
class GeneratedTargetsReader {
 public:
  // A file that is not there is an empty one. Throws IoError.
  explicit GeneratedTargetsReader(const std::filesystem::path& path);

  // The next line; nothing at the end, or where a writer was killed in the middle of the last line.
  // Throws DataError naming the line when it is damaged, IoError.
  std::optional<GeneratedTargetLine> next();

  // Bytes of the file up to the end of the last line that was read.
  std::int64_t offset() const { return offset_; }

 private:
  std::filesystem::path path_;
  std::ifstream file_;
  std::int64_t offset_ = 0;
  std::int64_t line_number_ = 0;
};

// Threads: one thread at a time.
class GeneratedTargetsWriter {
 public:
  // Opens or creates the file and drops what is behind `offset`. Throws IoError.
  GeneratedTargetsWriter(const std::filesystem::path& path, std::int64_t offset);

  // Makes the lines durable. Throws IoError.
  void append(std::span<const GeneratedTargetLine> lines);

 private:
  std::filesystem::path path_;
  FileDescriptor file_;
  std::int64_t offset_;
};

}  // namespace limn
