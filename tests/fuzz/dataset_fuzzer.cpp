// Whatever a file of JSON Lines has in it: records, or DataError and the next line.
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include "coordinator/dataset.h"
#include "storage/error.h"

namespace {

// The file that the reader reads: one of this process, gone with it.
class ScratchFile {
 public:
  ScratchFile()
      : path_(
            std::filesystem::temp_directory_path() /
            ("limn-dataset-fuzzer-" + std::to_string(getpid()) + ".jsonl")) {}

  ~ScratchFile() { std::filesystem::remove(path_); }

  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;

  const std::filesystem::path& path() const { return path_; }

  void write(const std::uint8_t* data, std::size_t size) const {
    std::ofstream file(path_, std::ios::binary);
    file.write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  }

 private:
  std::filesystem::path path_;
};

// The next record; true until the end.
bool read_next(limn::DatasetReader& reader) {
  try {
    return reader.next().has_value();
  } catch (const limn::DataError&) {
    return true;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const ScratchFile file;
  file.write(data, size);
  limn::DatasetReader reader({.path = file.path()});
  while (read_next(reader)) {
  }
  return 0;
}
