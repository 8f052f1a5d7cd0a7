#include "tests/snapshot.h"

#include <filesystem>
#include <fstream>
#include <iterator>

#include <gtest/gtest.h>

#include "tests/test_folders.h"

namespace limn::test {

namespace {

std::string file_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// GoogleTest's main() does not hand on the arguments that it does not know; the system does.
bool updates_snapshots() {
  using namespace std::string_view_literals;
  return file_text("/proc/self/cmdline").find("\0--snapshots=update\0"sv) != std::string::npos;
}

}  // namespace

void expect_snapshot(std::string_view name, const std::string& text) {
  const std::filesystem::path path = test_data() / "snapshots" / name;
  if (updates_snapshots()) {
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << text;
    return;
  }
  EXPECT_EQ(text, file_text(path)) << path << " is rewritten by --snapshots=update";
}

}  // namespace limn::test
