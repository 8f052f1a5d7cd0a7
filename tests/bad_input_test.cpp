// What a person gets wrong: one clear line, on one rank, the right exit code, and all ranks end.

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/limn_program.h"
#include "tests/temporary_folder.h"
#include "tests/test_folders.h"

namespace limn::test {

namespace {

using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

const std::filesystem::path kExample = source_folder() / "launch/examples/stories260K";

class BadInputTest : public testing::Test {
 protected:
  BadInputTest() { write_bytes(folder / "prompts.jsonl", kGoodLine); }

  // Runs a job with these lines in its tables, on two ranks.
  ProgramResult run(
      const std::string& explain = "units = \"word\"", const std::string& parallel = "") const {
    write_bytes(
        folder / "job.toml",
        "[model]\npath = \"" + model.string() + "\"\n[data]\npath = \"" +
            (folder / "prompts.jsonl").string() + "\"\n[explain]\n" + explain + "\n[parallel]\n" +
            parallel + "\n[output]\npath = \"" + output.string() + "\"\n");
    return run_to_end(limn_on_ranks(2, {"run", (folder / "job.toml").string()}));
  }

  // One line of error, from one rank, which says all this.
  static void expect_refused(
      const ProgramResult& result, int exit_code, const std::vector<std::string>& texts) {
    EXPECT_EQ(result.exit_code, exit_code) << result.output;
    const auto errors = lines_with(result.output, "[error]");
    ASSERT_THAT(errors, SizeIs(1)) << result.output;
    for (const std::string& text : texts)
      EXPECT_THAT(errors[0], HasSubstr(text));
  }

  void copy_model() {
    model = folder / "model";
    std::filesystem::copy(kExample / "model", model);
  }

  static constexpr const char* kGoodLine =
      "{\"id\": \"a\", \"prompt\": \"Tom had a ball.\", \"target\": \" He\"}\n";
  TemporaryFolder folder;
  std::filesystem::path model = kExample / "model";
  std::filesystem::path output = folder / "run";
};

}  // namespace

TEST_F(BadInputTest, AcceptsWhatIsRight) {
  EXPECT_EQ(run().exit_code, 0);
}

TEST_F(BadInputTest, MissingKey) {
  write_bytes(folder / "job.toml", "[model]\npath = \"m\"\n[output]\npath = \"r\"\n");
  expect_refused(
      run_to_end(limn_on_ranks(2, {"run", (folder / "job.toml").string()})), 78, {"data.path"});
}

TEST_F(BadInputTest, WrongType) {
  expect_refused(run("factor = \"much\""), 78, {"job.toml:6", "explain.factor", "much"});
}

TEST_F(BadInputTest, UnknownKey) {
  expect_refused(
      run("supression = \"shifted\""), 78, {"job.toml:6", "did you mean explain.suppression"});
}

TEST_F(BadInputTest, SeveralMistakesAreSeveralLines) {
  const ProgramResult result = run("factor = -1\nunits = \"letter\"\nmax_new_tokens = 0.5");
  EXPECT_EQ(result.exit_code, 78);
  EXPECT_THAT(lines_with(result.output, "[error]"), AllOf(SizeIs(3), Each(HasSubstr("job.toml:"))));
}

TEST_F(BadInputTest, UnitsThatAreNone) {
  expect_refused(run("units = \"paragraf\""), 78, {"job.toml:6", "did you mean paragraph"});
  expect_refused(run("units = \"auto:0\""), 78, {"job.toml:6", "N a whole number of at least 1"});
  expect_refused(run("units = \"delimiter\""), 78, {"explain.delimiter is missing"});
  expect_refused(
      run("units = \"delimiter\"\ndelimiter = \"/(a/\""), 78, {"job.toml:7", "does not compile"});
  EXPECT_EQ(run("units = \"delimiter\"\ndelimiter = \"never there\"").exit_code, 0);
}

TEST_F(BadInputTest, ARecordWithoutTheContextThatIsAskedFor) {
  expect_refused(run("units_over = \"context\""), 65, {"prompts.jsonl:1", "context"});
}

TEST_F(BadInputTest, UnknownFlag) {
  expect_refused(
      run_to_end(limn_on_ranks(2, {"run", "job.toml", "--explain.factr", "1"})),
      64,
      {"explain.factor"});
}

TEST_F(BadInputTest, MissingJobFile) {
  expect_refused(run_to_end(limn_on_ranks(2, {"run", "nowhere.toml"})), 74, {"nowhere.toml"});
}

TEST_F(BadInputTest, TruncatedSafetensors) {
  copy_model();
  std::filesystem::resize_file(model / "model.safetensors", 500'000);
  expect_refused(run(), 65, {"model.safetensors", "shorter", "fetch it again"});
}

TEST_F(BadInputTest, MissingModel) {
  model = folder / "nowhere";
  expect_refused(run(), 74, {"nowhere"});
}

TEST_F(BadInputTest, AMissingTokenizerIsToldOnce) {
  copy_model();
  std::filesystem::remove(model / "tokenizer.json");
  write_bytes(
      folder / "prompts.jsonl",
      "{\"prompt\": \"Tom ran.\", \"target\": \" He\"}\n"
      "{\"prompt\": \"Tom sat.\", \"target\": \" He\"}\n");
  expect_refused(
      run(), 74, {model.string() + ": has neither tokenizer.json nor tokenizer.model", "put the"});
}

TEST_F(BadInputTest, UnknownModelType) {
  copy_model();
  write_bytes(model / "config.json", "{\"model_type\": \"mamba\"}");
  expect_refused(run(), 65, {"config.json", "model_type", "mamba"});
}

TEST_F(BadInputTest, ConfigThatDoesNotFitTheTensors) {
  copy_model();
  std::string config = read_bytes(model / "config.json");
  const std::string right = "\"intermediate_size\": 172";
  ASSERT_NE(config.find(right), std::string::npos);
  config.replace(config.find(right), right.size(), "\"intermediate_size\": 171");
  write_bytes(model / "config.json", config);
  expect_refused(run(), 65, {"gate_proj", "15 in all"});
}

TEST_F(BadInputTest, ALineThatIsNotJson) {
  write_bytes(folder / "prompts.jsonl", std::string(kGoodLine) + "{\"id\": oops}\n");
  expect_refused(run(), 65, {"prompts.jsonl:2", "not JSON"});
}

TEST_F(BadInputTest, APromptThatIsTooLong) {
  write_bytes(
      folder / "prompts.jsonl",
      kGoodLine + ("{\"prompt\": \"" + std::string(10'000'000, 'x') + "\", \"target\": \" a\"}\n"));
  expect_refused(run(), 65, {"prompts.jsonl:2", "the model takes at most"});
}

TEST_F(BadInputTest, ALineThatIsNotUtf8) {
  write_bytes(
      folder / "prompts.jsonl",
      std::string(kGoodLine) + "{\"prompt\": \"caf\xE9\", \"target\": \" a\"}\n");
  expect_refused(run(), 65, {"prompts.jsonl:2", "ill-formed UTF-8"});
}

TEST_F(BadInputTest, SeveralMistakesInTheDatasetAreSeveralLines) {
  write_bytes(
      folder / "prompts.jsonl",
      "oops\n" + std::string(kGoodLine) + "{\"promt\": \"Tom\", \"target\": \" ran\"}\n" +
          "{\"prompt\": \"Tom\", \"target\": \"\"}\n" + kGoodLine);
  const ProgramResult result = run();
  EXPECT_EQ(result.exit_code, 65);
  EXPECT_THAT(
      lines_with(result.output, "[error]"),
      ElementsAre(
          HasSubstr("prompts.jsonl:1: not JSON"),
          HasSubstr("prompts.jsonl:3: unknown key"),
          HasSubstr("prompts.jsonl:4: "),
          HasSubstr("prompts.jsonl:5: id must be unique")));
}

TEST_F(BadInputTest, AMistakeThatIsMendedIsForgotten) {
  write_bytes(folder / "prompts.jsonl", "oops\n");
  expect_refused(run(), 65, {"prompts.jsonl:1"});
  write_bytes(folder / "prompts.jsonl", kGoodLine);
  EXPECT_EQ(run().exit_code, 0);
}

TEST_F(BadInputTest, ADatasetOfMistakesNamesTheFirstTen) {
  std::string lines;
  for (int i = 0; i < 50; ++i)
    lines += "oops\n";
  write_bytes(folder / "prompts.jsonl", lines);
  EXPECT_THAT(lines_with(run().output, "[error]"), SizeIs(10));
}

TEST_F(BadInputTest, APromptLongerThanTheModelAllows) {
  std::string prompt;
  for (int i = 0; i < 600; ++i)
    prompt += "ball ";
  write_bytes(
      folder / "prompts.jsonl",
      std::string(kGoodLine) + "{\"prompt\": \"" + prompt + "\", \"target\": \"x\"}\n");
  expect_refused(run(), 65, {"prompts.jsonl:2", "512"});
}

TEST_F(BadInputTest, AnEmptyTarget) {
  write_bytes(folder / "prompts.jsonl", "{\"prompt\": \"Tom\", \"target\": \"\"}\n");
  expect_refused(run(), 65, {"prompts.jsonl:1", "target"});
}

TEST_F(BadInputTest, DuplicateIds) {
  write_bytes(folder / "prompts.jsonl", std::string(kGoodLine) + "\n" + kGoodLine);
  expect_refused(run(), 65, {"prompts.jsonl:3", "prompts.jsonl:1", "unique"});
}

TEST_F(BadInputTest, AMissingDataset) {
  std::filesystem::remove(folder / "prompts.jsonl");
  expect_refused(run(), 74, {"prompts.jsonl"});
}

TEST_F(BadInputTest, AnEmptyDataset) {
  write_bytes(folder / "prompts.jsonl", "\n");
  expect_refused(run(), 65, {"prompts.jsonl", "no records"});
}

TEST_F(BadInputTest, AFolderThatCannotBeWritten) {
  output = "/proc/limn";
  expect_refused(run(), 74, {"/proc/limn"});
}

TEST_F(BadInputTest, TensorParallelThatDoesNotDivideTheRanks) {
  expect_refused(run("", "tensor_parallel = 3"), 78, {"parallel.tensor_parallel", "mpirun -n 3"});
}

TEST_F(BadInputTest, MoreTensorRanksThanHeads) {
  write_bytes(folder / "job.toml", "");
  expect_refused(
      run_to_end(limn_on_ranks(
          9,
          {"run",
           (kExample / "job.toml").string(),
           "--parallel.tensor_parallel",
           "9",
           "--output.path",
           output.string()})),
      78,
      {"parallel.tensor_parallel", "8"});
}

TEST_F(BadInputTest, WhatThisVersionDoesNotDoYet) {
  expect_refused(run("units = \"grid:2x3\""), 78, {"explain.units", "grid:2x3"});
}

// Tests without the label `gpu` see no GPU, wherever they run.
TEST_F(BadInputTest, GpusWhereThereAreNone) {
  expect_refused(run("", "device = \"cuda\""), 78, {"parallel.device is cuda and there is no GPU"});
}

}  // namespace limn::test
