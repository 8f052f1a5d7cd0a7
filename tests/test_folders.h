// Where the files are that tests read.
//
// Test programs that were carried to another machine find them by the environment variables
// LIMN_TEST_DATA, LIMN_SOURCE_DIR and LIMN_SHARED_DIR; otherwise they are where the tests were
// built.

#pragma once

#include <cstdlib>
#include <filesystem>

namespace limn::test {

// The folder that the environment variable `name` has, else `built_from`.
inline std::filesystem::path folder_of(const char* name, const char* built_from) {
  const char* const value = std::getenv(name);
  return value != nullptr ? value : built_from;
}

// tests/data
inline std::filesystem::path test_data() {
  return folder_of("LIMN_TEST_DATA", LIMN_TEST_DATA);
}

// The root of limn's own files.
inline std::filesystem::path source_folder() {
  return folder_of("LIMN_SOURCE_DIR", LIMN_SOURCE_DIR);
}

// Larger files, beside the root, which need not be there.
inline std::filesystem::path shared_folder() {
  return folder_of("LIMN_SHARED_DIR", LIMN_SHARED_DIR);
}

}  // namespace limn::test
