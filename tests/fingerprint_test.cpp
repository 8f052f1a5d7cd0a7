#include "storage/fingerprint.h"

#include <filesystem>
#include <fstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/error.h"

namespace limn::test {

namespace {

class FingerprintTest : public testing::Test {
 protected:
  std::filesystem::path write(const std::string& content) const {
    std::ofstream(path_, std::ios::binary) << content;
    return path_;
  }

  void TearDown() override { std::filesystem::remove(path_); }

  std::filesystem::path path_ = std::filesystem::path(testing::TempDir()) / "limn_fingerprint_test";
};

}  // namespace

// The digests that Python's xxhash.xxh3_128_hexdigest gives.
TEST_F(FingerprintTest, IsTheXxh3OfAFilesBytes) {
  EXPECT_EQ(file_fingerprint(write("")), "xxh3:99aa06d3014798d86001c324468d497f");
  EXPECT_EQ(file_fingerprint(write("limn\n")), "xxh3:544c83b92e0c4bcf66cf0e6e8fcd15da");
  const std::string large(3'000'000, 'x');
  EXPECT_EQ(file_fingerprint(write(large)), "xxh3:1f895bac9b72598405afde2f9995314a");
  EXPECT_NE(file_fingerprint(write(large + "\n")), "xxh3:1f895bac9b72598405afde2f9995314a");
}

TEST_F(FingerprintTest, TellsTextsApartHoweverTheyAreCut) {
  const auto of = [](std::string_view first, std::string_view second) {
    Fingerprint fingerprint;
    fingerprint.add(first);
    fingerprint.add(second);
    return fingerprint.text();
  };
  EXPECT_EQ(of("ab", "c"), of("ab", "c"));
  EXPECT_NE(of("ab", "c"), of("a", "bc"));
}

TEST_F(FingerprintTest, RefusesAFileThatCannotBeRead) {
  EXPECT_THROW(file_fingerprint(path_ / "missing"), IoError);
  EXPECT_THROW(file_fingerprint(testing::TempDir()), IoError);
}

}  // namespace limn::test
