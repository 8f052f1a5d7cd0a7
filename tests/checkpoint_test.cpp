#include "storage/checkpoint.h"

#include <array>
#include <cstring>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "storage/error.h"
#include "tests/messages.h"
#include "tests/safetensors_writer.h"
#include "tests/temporary_folder.h"
#include "tests/test_folders.h"

namespace limn::test {

namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;

std::string counted_bytes(std::size_t count) {
  std::string bytes;
  for (std::size_t i = 0; i < count; ++i)
    bytes.push_back(static_cast<char>(i));
  return bytes;
}

// A folder with one model.safetensors.
class CheckpointTest : public testing::Test {
 protected:
  void write(const std::string& header, std::size_t data_bytes) {
    write_bytes(folder_ / "model.safetensors", safetensors(header, counted_bytes(data_bytes)));
  }

  std::string refusal() {
    return message_of<DataError>([&] { Checkpoint checkpoint(folder_.path()); });
  }

  TemporaryFolder folder_;
};

TEST_F(CheckpointTest, FindsTensorsWithTypeShapeAndBytes) {
  write(
      R"({"__metadata__":{"format":"pt"},"b":)" + safetensors_entry("BF16", "[2,3]", 4, 16) +
          R"(,"a":)" + safetensors_entry("F32", "[]", 0, 4) + "}  ",
      16);
  const Checkpoint checkpoint(folder_.path());
  EXPECT_THAT(checkpoint.names(), ElementsAre("a", "b"));
  const StoredTensor* b = checkpoint.find("b");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(b->dtype, StoredDtype::Bfloat16);
  EXPECT_THAT(b->shape, ElementsAre(2, 3));
  ASSERT_EQ(b->bytes.size(), 12);
  EXPECT_EQ(b->bytes[0], std::byte{4});
  EXPECT_TRUE(checkpoint.find("a")->shape.empty());
  EXPECT_EQ(checkpoint.find("c"), nullptr);
}

TEST_F(CheckpointTest, KnowsEveryElementType) {
  const std::vector<std::pair<const char*, std::int64_t>> types = {
      {"F64", 8},
      {"F32", 4},
      {"BF16", 2},
      {"F16", 2},
      {"I64", 8},
      {"I32", 4},
      {"U8", 1},
      {"BOOL", 1}};
  for (const auto& [name, bytes] : types) {
    write(
        R"({"a":)" + safetensors_entry(name, "[3]", 0, static_cast<int>(3 * bytes)) + "}",
        3 * bytes);
    const Checkpoint checkpoint(folder_.path());
    EXPECT_EQ(element_bytes(checkpoint.find("a")->dtype), bytes) << name;
  }
}

TEST_F(CheckpointTest, AnEmptyTensorIsLegal) {
  write(
      R"({"none":)" + safetensors_entry("F32", "[0,7]", 4, 4) + R"(,"one":)" +
          safetensors_entry("U8", "[4]", 0, 4) + "}",
      4);
  EXPECT_TRUE(Checkpoint(folder_.path()).find("none")->bytes.empty());
}

TEST_F(CheckpointTest, AnUnknownTypeHarmsOnlyWhoAsksForIt) {
  write(
      R"({"new":)" + safetensors_entry("F8_E4M3", "[4]", 0, 4) + R"(,"old":)" +
          safetensors_entry("U8", "[4]", 4, 8) + "}",
      8);
  const Checkpoint checkpoint(folder_.path());
  EXPECT_THAT(checkpoint.names(), ElementsAre("new", "old"));
  EXPECT_EQ(checkpoint.find("old")->bytes.size(), 4);
  EXPECT_THAT(
      message_of<DataError>([&] { checkpoint.find("new"); }),
      EndsWith("model.safetensors: a tensor's type is not supported: new: F8_E4M3"));
}

struct BadHeader {
  const char* name;
  std::string header;
  std::size_t data_bytes;
  const char* message;
};

class BadHeaderTest : public CheckpointTest, public testing::WithParamInterface<BadHeader> {};

TEST_P(BadHeaderTest, IsRefused) {
  write(GetParam().header, GetParam().data_bytes);
  EXPECT_THAT(refusal(), HasSubstr(GetParam().message));
  EXPECT_THAT(refusal(), HasSubstr((folder_ / "model.safetensors").string()));
}

INSTANTIATE_TEST_SUITE_P(
    Headers,
    BadHeaderTest,
    testing::Values(
        BadHeader{"NoJson", "{\"a\":", 0, "(header):1:6: is not JSON"},
        BadHeader{"NoObject", "[]", 0, "header must be a JSON object"},
        BadHeader{"NoDtype", R"({"a":{"shape":[1]}})", 0, "has no dtype: a"},
        BadHeader{
            "NoShape", R"({"a":{"dtype":"U8","data_offsets":[0,1]}})", 1, "shape of a tensor"},
        BadHeader{
            "NegativeShape",
            R"({"a":)" + safetensors_entry("U8", "[-1]", 0, 1) + "}",
            1,
            "shape of a tensor"},
        BadHeader{
            "FractionalShape",
            R"({"a":)" + safetensors_entry("U8", "[1.5]", 0, 1) + "}",
            1,
            "shape of a tensor"},
        BadHeader{
            "AbsurdShape",
            R"({"a":)" + safetensors_entry("U8", "[18446744073709551615]", 0, 1) + "}",
            1,
            "shape of a tensor"},
        BadHeader{
            "OverflowingShape",
            R"({"a":)" + safetensors_entry("F32", "[4294967296,4294967296]", 0, 0) + "}",
            0,
            "do not fit its shape"},
        BadHeader{
            "WrongSize",
            R"({"a":)" + safetensors_entry("F32", "[2]", 0, 4) + "}",
            4,
            "do not fit its shape F32[2]: a"},
        BadHeader{
            "BackwardOffsets",
            R"({"a":)" + safetensors_entry("U8", "[1]", 1, 0) + "}",
            1,
            "its begin and its end: a"},
        BadHeader{
            "Overlap",
            R"({"a":)" + safetensors_entry("U8", "[2]", 0, 2) + R"(,"b":)" +
                safetensors_entry("U8", "[2]", 1, 3) + "}",
            3,
            "an overlap in front of a tensor: b"},
        BadHeader{
            "Hole",
            R"({"a":)" + safetensors_entry("U8", "[2]", 0, 2) + R"(,"b":)" +
                safetensors_entry("U8", "[2]", 3, 5) + "}",
            5,
            "a hole in front of a tensor: b"},
        BadHeader{
            "TooShort",
            R"({"a":)" + safetensors_entry("U8", "[4]", 0, 4) + "}",
            3,
            "shorter than its header says; fetch it again: 64 of 65 bytes"},
        BadHeader{
            "TooLong",
            R"({"a":)" + safetensors_entry("U8", "[4]", 0, 4) + "}",
            5,
            "longer than its header says"},
        BadHeader{
            "NameTwice",
            R"({"a":)" + safetensors_entry("U8", "[1]", 0, 1) + R"(,"a":)" +
                safetensors_entry("U8", "[1]", 1, 2) + "}",
            2,
            "has a tensor twice: a"}),
    [](const auto& header) { return header.param.name; });

TEST_F(CheckpointTest, SaysHowMuchOfATruncatedFileIsThere) {
  write(R"({"a":)" + safetensors_entry("U8", "[5242880]", 0, 5242880) + "}", 3 << 20);
  EXPECT_THAT(
      refusal(),
      EndsWith("model.safetensors: shorter than its header says; fetch it again: 3 of 5 MiB"));
}

TEST_F(CheckpointTest, RefusesAHeaderThatIsNotThere) {
  write_bytes(folder_ / "model.safetensors", little_endian(500) + "{");
  EXPECT_THAT(refusal(), EndsWith("fetch it again: 9 of 508 bytes"));
  write_bytes(folder_ / "model.safetensors", "1234");
  EXPECT_THAT(refusal(), EndsWith("fetch it again: 4 of 8 bytes"));
  write_bytes(folder_ / "model.safetensors", "");
  EXPECT_THAT(refusal(), EndsWith("fetch it again: 0 of 8 bytes"));
}

TEST_F(CheckpointTest, RefusesAnAbsurdHeaderLength) {
  for (const std::uint64_t length : {std::uint64_t{100'000'001}, ~std::uint64_t{0}}) {
    write_bytes(folder_ / "model.safetensors", little_endian(length) + "{}");
    EXPECT_THAT(refusal(), HasSubstr("no safetensors file"));
  }
}

TEST_F(CheckpointTest, KnowsAGitLfsPointer) {
  write_bytes(
      folder_ / "model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n");
  EXPECT_THAT(refusal(), HasSubstr("git lfs pull"));
}

TEST_F(CheckpointTest, SaysWhatItLookedFor) {
  EXPECT_THAT(
      message_of<IoError>([&] { Checkpoint checkpoint(folder_.path()); }),
      testing::AllOf(
          HasSubstr(folder_.path().string()),
          EndsWith("has one of: model.safetensors, model.safetensors.index.json, "
                   "pytorch_model.bin, pytorch_model.bin.index.json")));
}

// Two shards and their index.
class ShardedCheckpointTest : public CheckpointTest {
 protected:
  ShardedCheckpointTest() {
    write_shard("model-1.safetensors", "a");
    write_shard("model-2.safetensors", "b");
    write_index({{"a", "model-1.safetensors"}, {"b", "model-2.safetensors"}});
  }

  void write_shard(const std::string& file, const std::string& tensor) {
    write_bytes(
        folder_ / file,
        safetensors(
            "{\"" + tensor + "\":" + safetensors_entry("U8", "[4]", 0, 4) + "}", counted_bytes(4)));
  }

  void write_index(const json& weight_map) {
    write_bytes(folder_ / "model.safetensors.index.json", json{{"weight_map", weight_map}}.dump());
  }
};

TEST_F(ShardedCheckpointTest, JoinsTheShards) {
  const Checkpoint checkpoint(folder_.path());
  EXPECT_THAT(checkpoint.names(), ElementsAre("a", "b"));
  EXPECT_EQ(checkpoint.find("b")->bytes[3], std::byte{3});
}

TEST_F(ShardedCheckpointTest, StaysInsideTheFolder) {
  for (const json& file :
       {json("../model-1.safetensors"),
        json("/etc/passwd"),
        json("x/../../y"),
        json(""),
        json(7)}) {
    write_index({{"a", file}});
    EXPECT_THAT(refusal(), HasSubstr("weight_map must name files inside the folder: a")) << file;
  }
}

TEST_F(ShardedCheckpointTest, NamesAShardThatIsMissing) {
  std::filesystem::remove(folder_ / "model-2.safetensors");
  EXPECT_THAT(
      message_of<IoError>([&] { Checkpoint checkpoint(folder_.path()); }),
      HasSubstr("model-2.safetensors: missing, but named by model.safetensors.index.json"));
}

TEST_F(ShardedCheckpointTest, NamesATensorThatIsNotWhereTheIndexSays) {
  write_index({{"a", "model-1.safetensors"}, {"b", "model-1.safetensors"}});
  EXPECT_THAT(refusal(), HasSubstr("model-1.safetensors: has no tensor that"));
}

TEST_F(ShardedCheckpointTest, RefusesATensorInTwoShards) {
  write_shard("model-2.safetensors", "a");
  EXPECT_THAT(
      refusal(), EndsWith("model-2.safetensors: a tensor is also in model-1.safetensors: a"));
}

TEST_F(ShardedCheckpointTest, ASingleFileGoesBeforeAnIndexAndSafetensorsBeforePickles) {
  write_shard("model.safetensors", "single");
  write_bytes(folder_ / "pytorch_model.bin", "never looked at");
  write_bytes(folder_ / "pytorch_model.bin.index.json", "never looked at");
  EXPECT_THAT(Checkpoint(folder_.path()).names(), ElementsAre("single"));
  std::filesystem::remove(folder_ / "model.safetensors");
  EXPECT_THAT(Checkpoint(folder_.path()).names(), ElementsAre("a", "b"));
  std::filesystem::remove(folder_ / "model.safetensors.index.json");
  EXPECT_THAT(refusal(), HasSubstr("pytorch_model.bin: no zip archive"));
  std::filesystem::remove(folder_ / "pytorch_model.bin");
  EXPECT_THAT(refusal(), HasSubstr("pytorch_model.bin.index.json:1:2: is not JSON"));
}

TEST_F(ShardedCheckpointTest, RefusesAnIndexWithoutAWeightMap) {
  for (const char* index : {"{}", "[]", "{\"weight_map\": []}"}) {
    write_bytes(folder_ / "model.safetensors.index.json", index);
    EXPECT_THAT(refusal(), HasSubstr("must have an object weight_map")) << index;
  }
}

TEST_F(CheckpointTest, DamageIsReadOrRefusedNeverACrash) {
  const std::string whole = safetensors(
      R"({"__metadata__":{"format":"pt"},"a":)" + safetensors_entry("F32", "[2,3]", 0, 24) +
          R"(,"b":)" + safetensors_entry("I64", "[1]", 24, 32) + "}",
      counted_bytes(32));
  std::mt19937_64 random(11);
  int refused = 0;
  for (int round = 0; round < 3000; ++round) {
    write_bytes(folder_ / "model.safetensors", damaged(whole, random));
    try {
      const Checkpoint checkpoint(folder_.path());
      for (const std::string& name : checkpoint.names()) {
        const StoredTensor* tensor = checkpoint.find(name);
        // Touches every byte that the checkpoint says is there.
        ASSERT_LE(
            std::string(reinterpret_cast<const char*>(tensor->bytes.data()), tensor->bytes.size())
                .size(),
            whole.size());
      }
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 1000);
}

// The expected values were read from the file with Python's struct and json.
TEST(TrainedCheckpointTest, ReadsARealModel) {
  const auto folder = shared_folder() / "models/stories260K-hf";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "needs " << folder;
  const Checkpoint checkpoint(folder);
  EXPECT_EQ(checkpoint.names().size(), 47);
  const StoredTensor* norm = checkpoint.find("model.norm.weight");
  ASSERT_NE(norm, nullptr);
  EXPECT_EQ(norm->dtype, StoredDtype::Float32);
  EXPECT_THAT(norm->shape, ElementsAre(64));
  std::array<float, 3> first = {};
  std::memcpy(first.data(), norm->bytes.data(), sizeof(first));
  EXPECT_THAT(first, ElementsAre(2.4583089351654053F, 1.3673226833343506F, 1.7504382133483887F));
}

}  // namespace

}  // namespace limn::test
