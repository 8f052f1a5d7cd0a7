#include "storage/json_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/error.h"
#include "tests/messages.h"
#include "tests/temporary_folder.h"

namespace limn::test {

namespace {

using testing::HasSubstr;
using testing::StartsWith;

TEST(JsonFileTest, ReadsAWholeFile) {
  const TemporaryFolder folder;
  write_bytes(folder / "config.json", "{\"hidden_size\": 64, \"tags\": [\"a\", null]}\n");
  const nlohmann::json json = read_json(folder / "config.json");
  EXPECT_EQ(json.at("hidden_size"), 64);
  EXPECT_EQ(json.at("tags").size(), 2);
}

TEST(JsonFileTest, NamesFileLineAndColumnOfAMistake) {
  const TemporaryFolder folder;
  write_bytes(folder / "config.json", "{\n  \"a\": 1,\n  \"b\": ?\n}\n");
  const std::string message = message_of<DataError>([&] { read_json(folder / "config.json"); });
  EXPECT_THAT(
      message, StartsWith((folder / "config.json").string() + ":3:8: is not JSON: syntax error"));
}

TEST(JsonFileTest, NamesTheEndOfATextThatStops) {
  EXPECT_THAT(
      message_of<DataError>([] { parse_json("{\"a\":\n[1,", "here"); }),
      StartsWith("here:2:4: is not JSON"));
  EXPECT_THAT(message_of<DataError>([] { parse_json("", "here"); }), StartsWith("here:1:1: "));
}

TEST(JsonFileTest, RefusesWhatIsNoUtf8AndNumbersBeyondRange) {
  EXPECT_THROW(parse_json("\"\xff\"", "here"), DataError);
  EXPECT_THROW(parse_json("1e999", "here"), DataError);
}

TEST(JsonFileTest, AMissingFileIsAnIoErrorThatNamesIt) {
  const TemporaryFolder folder;
  EXPECT_THAT(
      message_of<IoError>([&] { read_json(folder / "config.json"); }),
      HasSubstr("config.json: cannot be opened: No such file or directory"));
}

}  // namespace

}  // namespace limn::test
