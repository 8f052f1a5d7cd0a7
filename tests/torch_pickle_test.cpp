#include "storage/torch_pickle.h"

#include <random>
#include <span>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/error.h"
#include "tests/messages.h"

namespace limn::test {

namespace {

using namespace std::string_literals;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<PickledTensor> read(const std::string& pickle) {
  return read_state_dict(std::as_bytes(std::span(pickle)), "file");
}

std::string refusal_of(const std::string& pickle) {
  return message_of<DataError>([&] { read(pickle); });
}

// ---- Pieces of pickles, written by hand: pickletools explains the letters ----

std::string text(const std::string& value) {
  return "\x8c"s + static_cast<char>(value.size()) + value;
}

std::string global(const std::string& module, const std::string& name) {
  return "c" + module + "\n" + name + "\n";
}

std::string storage(const std::string& type, const std::string& key) {
  return "(" + text("storage") + type + text(key) + text("cpu") + "K\x18tQ"s;
}

const std::string kFloats = global("torch", "FloatStorage");
const std::string kHooks = global("collections", "OrderedDict") + ")R";

struct View {
  std::string offset = "K\x02";
  std::string shape = "K\x03K\x04\x86";
  std::string strides = "K\x04K\x01\x86";
};

std::string tensor(const View& view) {
  return global("torch._utils", "_rebuild_tensor_v2") + "(" + storage(kFloats, "5") + view.offset +
         view.shape + view.strides + "\x89" + kHooks + "tR";
}

// A dict with one entry, w.
std::string state_of(const std::string& value) {
  return "\x80\x02}" + text("w") + value + "s.";
}

// ---- Tests ----

TEST(TorchPickleTest, DescribesATensor) {
  const std::vector<PickledTensor> tensors = read(state_of(tensor({})));
  ASSERT_EQ(tensors.size(), 1);
  EXPECT_EQ(tensors[0].name, "w");
  EXPECT_EQ(tensors[0].dtype, "float32");
  EXPECT_EQ(tensors[0].storage, "5");
  EXPECT_EQ(tensors[0].storage_offset, 2);
  EXPECT_THAT(tensors[0].shape, ElementsAre(3, 4));
  EXPECT_THAT(tensors[0].strides, ElementsAre(4, 1));
}

TEST(TorchPickleTest, ReadsIntegersOfEveryWidth) {
  const auto offset = [](const std::string& integer) {
    return read(state_of(tensor({.offset = integer})))[0].storage_offset;
  };
  EXPECT_EQ(offset("K\xff"), 255);
  EXPECT_EQ(offset("M\xff\xff"), 65535);
  EXPECT_EQ(offset("J\xff\xff\xff\x7f"), 2147483647);
  EXPECT_EQ(offset("\x8a\x00"s), 0);
  EXPECT_EQ(offset("\x8a\x05\x00\x00\x00\x00\x01"s), 4294967296);
  EXPECT_EQ(offset("\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f"), 9223372036854775807);
}

TEST(TorchPickleTest, AnEmptyDictIsLegal) {
  EXPECT_THAT(read("\x80\x02}."), IsEmpty());
}

TEST(TorchPickleTest, ADictMayHoldItself) {
  EXPECT_THAT(
      read("}q\x01" + text("w") + tensor({}) + "s" + text("me") + "h\x01s."), testing::SizeIs(1));
}

TEST(TorchPickleTest, DepthHasNoLimit) {
  EXPECT_THAT(
      read(
          "}(" + text("deep") + ")" + std::string(1'000'000, '\x85') + text("w") + tensor({}) +
          "u."),
      testing::SizeIs(1));
}

struct BadPickle {
  const char* name;
  std::string pickle;
  const char* message;
};

class BadPickleTest : public testing::TestWithParam<BadPickle> {};

TEST_P(BadPickleTest, IsRefused) {
  const std::string message = refusal_of(GetParam().pickle);
  EXPECT_THAT(message, testing::StartsWith("file: "));
  EXPECT_THAT(message, EndsWith(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Code,
    BadPickleTest,
    testing::Values(
        BadPickle{"Global", global("os", "system") + ".", "refuses to run os.system"},
        BadPickle{
            "StackGlobal",
            text("builtins") + text("eval") + "\x93.",
            "refuses to run builtins.eval"},
        BadPickle{"OtherOfTorch", global("torch", "load") + ".", "refuses to run torch.load"},
        BadPickle{
            "OtherOfRebuilders",
            global("torch._utils", "_rebuild_qtensor") + ".",
            "refuses to run torch._utils._rebuild_qtensor"},
        BadPickle{
            "ModuleInTheName",
            global("torch", "_utils._rebuild_tensor_v2") + ".",
            "refuses to run torch._utils._rebuild_tensor_v2"},
        BadPickle{"Instance", "(ios\nsystem\n.", "opcode 0x69"},
        BadPickle{"NewObject", ")\x81.", "opcode 0x81"},
        BadPickle{"Extension", "\x82\x01.", "opcode 0x82"}),
    [](const auto& pickle) { return pickle.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Damage,
    BadPickleTest,
    testing::Values(
        BadPickle{"Empty", "", "ends too early; fetch it again: 0 of 1 bytes"},
        BadPickle{"Protocol", "\x80\x06.", "protocol must be at most 5: 6"},
        BadPickle{"StopWithoutValue", ".", "an operation without its value"},
        BadPickle{"StopInsideAMark", "}(.", "an operation without its value"},
        BadPickle{"TupleWithoutValues", "N\x86.", "an operation without its values"},
        BadPickle{"TupleBelowItsMark", "N(N\x86.", "an operation without its values"},
        BadPickle{"TupleWithoutMark", "Nt.", "an operation without its mark"},
        BadPickle{"OddItems", "}(Nu.", "a key without its value"},
        BadPickle{"ItemsOfAList", "](NNu.", "an operation on a value of another type"},
        BadPickle{"Unremembered", "h\x01.", "a reference to nothing"},
        BadPickle{"TextPastTheEnd", "X\xff\xff\xff\xff.", "fetch it again: 1 of 4294967295 bytes"},
        BadPickle{
            "AbsurdText",
            "\x8d\xff\xff\xff\xff\xff\xff\xff\xff.",
            "1 of 18446744073709551615 bytes"},
        BadPickle{"LineWithoutEnd", "cos.", "fetch it again: 0 of 1 bytes"},
        BadPickle{
            "LongOfNineBytes",
            "\x8a\x09"s + std::string(9, 'x') + ".",
            "an integer of more than 8 bytes"},
        BadPickle{"NoStorageId", text("storage") + "\x85Q.", "no id of a storage"},
        BadPickle{"AttributesOfAList", "]}b.", "an operation on a value of another type"},
        BadPickle{
            "NegativeOffset", state_of(tensor({.offset = "J\xff\xff\xff\xff"})), "a negative size"},
        BadPickle{
            "TextAsShape",
            state_of(tensor({.shape = text("3")})),
            "an operation on a value of another type"},
        BadPickle{
            "StrideMissing",
            state_of(tensor({.strides = "K\x01\x85"})),
            "a tensor without all its strides"},
        BadPickle{
            "TooManyDimensions",
            state_of(tensor({.shape = "(" + std::string(65, 'N') + "t"})),
            "a tensor of too many dimensions"},
        BadPickle{
            "UnknownDescription",
            state_of(global("torch._utils", "_rebuild_tensor_v2") + ")R"),
            "0 of 6 arguments"},
        BadPickle{"NoDict", "N.", "must hold a dict of tensors; save the state_dict()"},
        BadPickle{
            "NoTensors",
            state_of("}" + text("w") + tensor({}) + "s"),
            "must have its tensors in the outermost dict; save the state_dict() itself"}),
    [](const auto& pickle) { return pickle.param.name; });

TEST(TorchPickleTest, RefusesAnAbsurdSize) {
  EXPECT_THAT(
      refusal_of(std::string((32 << 20) + 1, '}')),
      EndsWith("a pickle must have at most 33554432 bytes: 33554433"));
}

TEST(TorchPickleTest, DamageIsReadOrRefusedNeverACrash) {
  const std::string whole = "\x80\x02}q\x01(" + text("v") + tensor({}) + text("w") +
                            tensor({.shape = "(K\x01K\x02K\x03t", .strides = "(K\x06K\x03K\x01t"}) +
                            "u}(" + text("_metadata") + kHooks + "ub.";
  ASSERT_EQ(read(whole).size(), 2);
  std::mt19937_64 random(23);
  int refused = 0;
  for (int round = 0; round < 20000; ++round) {
    try {
      read(damaged(whole, random));
    } catch (const DataError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 10000);
}

}  // namespace

}  // namespace limn::test
