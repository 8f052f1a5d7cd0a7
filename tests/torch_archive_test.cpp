#include "storage/torch_archive.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <filesystem>
#include <random>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "storage/checkpoint.h"
#include "storage/error.h"
#include "storage/json_file.h"
#include "tests/messages.h"
#include "tests/temporary_folder.h"
#include "tests/test_folders.h"

namespace limn::test {

namespace {

using nlohmann::json;
using testing::Contains;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;

// What torch.save wrote, by make_archives.py.
std::filesystem::path archive_folder(const std::string& name) {
  return test_data() / "torch_archive" / name;
}

std::filesystem::path archive(const std::string& name) {
  return archive_folder(name) / "pytorch_model.bin";
}

std::string torch_name(StoredDtype dtype) {
  switch (dtype) {
    case StoredDtype::Float64:
      return "float64";
    case StoredDtype::Float32:
      return "float32";
    case StoredDtype::Bfloat16:
      return "bfloat16";
    case StoredDtype::Float16:
      return "float16";
    case StoredDtype::Int64:
      return "int64";
    case StoredDtype::Int32:
      return "int32";
    case StoredDtype::Uint8:
      return "uint8";
    case StoredDtype::Bool:
      return "bool";
  }
  return "?";
}

std::string hexadecimal(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte byte : bytes)
    text += fmt::format("{:02x}", std::to_integer<int>(byte));
  return text;
}

// As expected.json describes a tensor.
json description(const StoredTensor& tensor) {
  return {
      {"dtype", torch_name(tensor.dtype)},
      {"shape", tensor.shape},
      {"bytes", hexadecimal(tensor.bytes)}};
}

bool is_readable(const std::string& dtype) {
  constexpr std::array kUnreadable = {"int16", "int8", "uint16", "complex64", "float8_e4m3fn"};
  return std::ranges::find(kUnreadable, dtype) == kUnreadable.end();
}

class SavedByTorchTest : public testing::TestWithParam<const char*> {};

TEST_P(SavedByTorchTest, HasTheTensorsThatTorchSays) {
  const json expected = read_json(archive_folder("expected.json")).at(GetParam());
  const Checkpoint checkpoint(archive_folder(GetParam()));
  EXPECT_EQ(checkpoint.names().size(), expected.size());
  for (const auto& [name, tensor] : expected.items()) {
    if (!is_readable(tensor["dtype"]) || name == "expanded") continue;
    const StoredTensor* const found = checkpoint.find(name);
    ASSERT_NE(found, nullptr) << name;
    EXPECT_EQ(description(*found), tensor) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Folders,
    SavedByTorchTest,
    testing::Values("views", "types", "metadata", "others", "protocol_4", "protocol_5", "sharded"),
    [](const auto& folder) { return std::string(folder.param); });

TEST(TorchArchiveTest, ATypeThatLimnDoesNotHoldHarmsOnlyWhoAsksForIt) {
  const Checkpoint checkpoint(archive_folder("types"));
  for (const char* dtype : {"int16", "int8", "uint16", "complex64", "float8_e4m3fn"}) {
    EXPECT_THAT(checkpoint.names(), Contains(dtype));
    EXPECT_THAT(
        message_of<DataError>([&] { checkpoint.find(dtype); }),
        EndsWith(fmt::format(
            "pytorch_model.bin: a tensor's type is not supported: {}: {}", dtype, dtype)));
  }
}

TEST(TorchArchiveTest, AnExpandedTensorHarmsOnlyWhoAsksForIt) {
  const Checkpoint checkpoint(archive_folder("views"));
  EXPECT_THAT(
      message_of<DataError>([&] { checkpoint.find("expanded"); }),
      EndsWith("has more elements than are stored; save its contiguous(): expanded"));
}

TEST(TorchArchiveTest, TensorsInRowMajorOrderStayWhereTheyAre) {
  const MappedFile file(archive("views"));
  const auto holds = [&](const FileTensor& read) {
    return read.tensor && read.tensor->bytes.data() >= file.bytes().data() &&
           read.tensor->bytes.data() < file.bytes().data() + file.bytes().size();
  };
  std::vector<std::string> outside;
  for (const FileTensor& read : read_torch_archive(file.bytes(), "file")) {
    if (!holds(read)) outside.push_back(read.name);
  }
  EXPECT_THAT(
      outside,
      testing::UnorderedElementsAre(
          "transposed",
          "permuted_bfloat16",
          "offset_transposed",
          "every_other",
          "column",
          "tied.transposed",
          "expanded"));
}

TEST(TorchArchiveTest, TiedTensorsShareTheirBytes) {
  const Checkpoint checkpoint(archive_folder("views"));
  EXPECT_EQ(checkpoint.find("tied.a")->bytes.data(), checkpoint.find("tied.b")->bytes.data());
}

// The same model saved by safetensors.
TEST(TorchArchiveTest, HasTheSameModelAsItsSafetensorsTwin) {
  const Checkpoint twin(test_data() / "golden/llama");
  const Checkpoint checkpoint(archive_folder("llama"));
  ASSERT_EQ(checkpoint.names(), twin.names());
  ASSERT_FALSE(twin.names().empty());
  for (const std::string& name : twin.names())
    EXPECT_EQ(description(*checkpoint.find(name)), description(*twin.find(name))) << name;
}

struct Refusal {
  const char* folder;
  const char* message;
};

class RefusedArchiveTest : public testing::TestWithParam<Refusal> {};

TEST_P(RefusedArchiveTest, SaysWhy) {
  const std::string message =
      message_of<DataError>([] { Checkpoint checkpoint(archive_folder(GetParam().folder)); });
  EXPECT_THAT(message, HasSubstr(archive(GetParam().folder).string()));
  EXPECT_THAT(message, HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Folders,
    RefusedArchiveTest,
    testing::Values(
        Refusal{"command", "get the model as safetensors: refuses to run posix.system"},
        Refusal{"nested", "must have its tensors in the outermost dict"},
        Refusal{"tensor", "must hold a dict of tensors"},
        Refusal{"old", "a file of torch before 1.6, which limn does not read; convert it"},
        Refusal{"compressed", "a compressed member, which torch does not write"}),
    [](const auto& refusal) { return std::string(refusal.param.folder); });

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

// The archive with one of its texts, at all places, replaced by another of the same length.
std::string patched(const std::string& name, const std::string& from, const std::string& to) {
  std::string bytes = read_bytes(archive(name));
  EXPECT_NE(bytes.find(from), std::string::npos);
  for (auto at = bytes.find(from); at != std::string::npos; at = bytes.find(from, at + 1))
    bytes.replace(at, from.size(), to);
  return bytes;
}

std::string refusal_of(const std::string& bytes) {
  return message_of<DataError>([&] { read_torch_archive(bytes_of(bytes), "file"); });
}

TEST(TorchArchiveTest, RefusesAnotherByteOrder) {
  EXPECT_THAT(
      refusal_of(patched("types", "little", "big...")),
      HasSubstr("file: must have its bytes in the order 'little'"));
}

TEST(TorchArchiveTest, NeedsNoByteOrder) {
  const std::string bytes = patched("types", "/byteorder", "/byteOrder");
  EXPECT_FALSE(read_torch_archive(bytes_of(bytes), "file").empty());
}

TEST(TorchArchiveTest, NamesTheTensorWhoseStorageIsMissing) {
  EXPECT_THAT(
      refusal_of(patched("others", "/data/0", "/data/x")),
      EndsWith("the storage of a tensor is missing; fetch it again: weight"));
}

TEST(TorchArchiveTest, RefusesAnArchiveOfSomethingElse) {
  EXPECT_THAT(
      refusal_of(patched("others", "/data.pkl", "/code.pkl")),
      EndsWith("file: no file of torch.save: has no data.pkl"));
}

TEST(TorchArchiveTest, NamesATensorThatReachesPastItsStorage) {
  // Binint1 4, Tuple1: the shape of the int32 tensor; 200 elements are more than its 4.
  EXPECT_THAT(
      refusal_of(patched("others", std::string("K\x04\x85"), std::string("K\xc8\x85"))),
      EndsWith("file: a tensor reaches past the end of its storage; fetch it again: weight"));
}

TEST(TorchArchiveTest, KnowsAFileThatWasCutOff) {
  const std::string whole = read_bytes(archive("types"));
  for (const std::size_t length : {std::size_t{0}, std::size_t{1}, whole.size() - 1}) {
    EXPECT_THAT(
        refusal_of(whole.substr(0, length)),
        EndsWith("file: no zip archive, or one without its end; fetch it again"));
  }
}

TEST(TorchArchiveTest, KnowsAGitLfsPointer) {
  const TemporaryFolder folder;
  write_bytes(folder / "pytorch_model.bin", "version https://git-lfs.github.com/spec/v1\noid s\n");
  EXPECT_THAT(
      message_of<DataError>([&] { Checkpoint checkpoint(folder.path()); }),
      HasSubstr("git lfs pull"));
}

// Reads every byte of every tensor.
std::size_t count_zeros(const std::vector<FileTensor>& tensors) {
  std::size_t zeros = 0;
  for (const FileTensor& read : tensors) {
    if (read.tensor) zeros += std::ranges::count(read.tensor->bytes, std::byte{0});
  }
  return zeros;
}

class DamagedArchiveTest : public testing::TestWithParam<const char*> {};

TEST_P(DamagedArchiveTest, IsReadOrRefusedNeverACrash) {
  const std::string whole = read_bytes(archive(GetParam()));
  std::mt19937_64 random(17);
  int refused = 0;
  int read = 0;
  for (int round = 0; round < 2000; ++round) {
    const std::string bytes = damaged(whole, random);
    try {
      EXPECT_LE(count_zeros(read_torch_archive(bytes_of(bytes), "file")), 100 * whole.size());
      ++read;
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 500);
  EXPECT_GT(read, 50);
}

INSTANTIATE_TEST_SUITE_P(
    Folders,
    DamagedArchiveTest,
    testing::Values("views", "types", "others", "protocol_5"),
    [](const auto& folder) { return std::string(folder.param); });

}  // namespace

}  // namespace limn::test
