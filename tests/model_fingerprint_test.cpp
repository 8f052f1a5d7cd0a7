#include "worker/model_fingerprint.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/safetensors_writer.h"
#include "tests/temporary_folder.h"

namespace limn::test {

namespace {

// A checkpoint of two tensors, which a test changes in one place.
class ModelFingerprintTest : public testing::Test {
 protected:
  ModelFingerprintTest() {
    write_bytes(folder_ / "config.json", "{}");
    write_bytes(folder_ / "tokenizer.json", "{\"version\": 1}");
  }

  std::string fingerprint() const {
    write_bytes(folder_ / "model.safetensors", safetensors(tensors_));
    return model_fingerprint(Checkpoint(folder_.path()));
  }

  TemporaryFolder folder_;
  std::vector<FloatTensor> tensors_{{"a", {2, 3}, {1, 2, 3, 4, 5, 6}}, {"b", {1}, {7}}};
};

}  // namespace

TEST_F(ModelFingerprintTest, IsTheSameForTheSameModel) {
  EXPECT_EQ(fingerprint(), fingerprint());
  const TemporaryFolder elsewhere;
  for (const char* name : {"config.json", "tokenizer.json", "model.safetensors"})
    write_bytes(elsewhere / name, read_bytes(folder_ / name));
  EXPECT_EQ(model_fingerprint(Checkpoint(elsewhere.path())), fingerprint());
}

TEST_F(ModelFingerprintTest, OfWeightsIsThatOfTheNamesAndSizesOfTheirFiles) {
  fingerprint();  // writes them
  const std::string before = weights_fingerprint(Checkpoint(folder_.path()));
  tensors_[0].values[0] = 17;
  fingerprint();
  EXPECT_EQ(weights_fingerprint(Checkpoint(folder_.path())), before);
  tensors_[1] = {"b", {2}, {7, 8}};
  fingerprint();
  const std::string larger = weights_fingerprint(Checkpoint(folder_.path()));
  EXPECT_NE(larger, before);
  std::filesystem::rename(folder_ / "model.safetensors", folder_ / "all.safetensors");
  write_bytes(
      folder_ / "model.safetensors.index.json",
      "{\"weight_map\": {\"a\": \"all.safetensors\", \"b\": \"all.safetensors\"}}");
  EXPECT_NE(weights_fingerprint(Checkpoint(folder_.path())), larger);
}

TEST_F(ModelFingerprintTest, ChangesWithTheConfig) {
  const std::string before = fingerprint();
  write_bytes(folder_ / "config.json", "{\"rope_theta\": 5}");
  EXPECT_NE(fingerprint(), before);
}

TEST_F(ModelFingerprintTest, ChangesWithTheTokenizer) {
  const std::string before = fingerprint();
  write_bytes(folder_ / "tokenizer.json", "{\"version\": 2}");
  const std::string other = fingerprint();
  std::filesystem::remove(folder_ / "tokenizer.json");
  EXPECT_NE(other, before);
  EXPECT_NE(fingerprint(), before);
  EXPECT_NE(fingerprint(), other);
}

TEST_F(ModelFingerprintTest, ChangesWithTheSentencePieceModelThatIsRead) {
  const std::string before = fingerprint();
  write_bytes(folder_ / "tokenizer.model", "pieces");
  EXPECT_EQ(fingerprint(), before) << "tokenizer.json is read instead";
  std::filesystem::remove(folder_ / "tokenizer.json");
  const std::string with_model = fingerprint();
  write_bytes(folder_ / "tokenizer.model", "others");
  EXPECT_NE(fingerprint(), with_model);
}

TEST_F(ModelFingerprintTest, ChangesWithNamesAndShapes) {
  const std::string before = fingerprint();
  tensors_[0].shape = {3, 2};
  EXPECT_NE(fingerprint(), before);
  tensors_[0].shape = {2, 3};
  tensors_[1].name = "c";
  EXPECT_NE(fingerprint(), before);
}

TEST_F(ModelFingerprintTest, DoesNotReadTheWeights) {
  const std::string before = fingerprint();
  tensors_[1].values[0] = 8;
  EXPECT_EQ(fingerprint(), before);
}

}  // namespace limn::test
