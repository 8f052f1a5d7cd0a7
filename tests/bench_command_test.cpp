// `limn bench` as a person starts it.

#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/json_file.h"
#include "tests/limn_program.h"
#include "tests/temporary_folder.h"

namespace limn::test {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;

const std::string kConfig = "tests/data/golden/llama/config.json";
const std::vector<std::string> kSmall = {
    "--tokens", "40", "--targets", "3", "--batch-tokens", "300", "--repeat", "3"};

class BenchCommandTest : public testing::Test {
 protected:
  ProgramResult bench(int ranks, std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), "bench");
    return run_to_end(limn_on_ranks(ranks, arguments));
  }

  // The figures of a bench that ends well, and what it printed in `text_`.
  nlohmann::json figures(int ranks, std::vector<std::string> arguments) {
    const std::string file = (folder_ / "figures.json").string();
    arguments.insert(arguments.end(), {"--json", file});
    const ProgramResult result = bench(ranks, arguments);
    EXPECT_EQ(result.exit_code, 0) << result.output;
    text_ = result.output;
    return read_json(file);
  }

  nlohmann::json figures_of_small(int ranks, const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments = {kConfig};
    arguments.insert(arguments.end(), kSmall.begin(), kSmall.end());
    arguments.insert(arguments.end(), more.begin(), more.end());
    return figures(ranks, arguments);
  }

  TemporaryFolder folder_;
  std::string text_;
};

TEST_F(BenchCommandTest, TellsEveryFigure) {
  const nlohmann::json json = figures_of_small(1);
  for (const char* const name :
       {"model           llama, 2 layers, hidden 40, 4 heads on 2 key/value heads of 12",
        "parameters",
        "weights",
        "in bfloat16_delta on cpu; groups x tensor ranks: 1 x 1",
        "40 prompt tokens, 3 target tokens and 40 perturbations, log_additive at 0",
        "a run",
        "rows/s",
        "useful",
        "products alone",
        "share",
        "products ",
        "attention ",
        "communication 0.0 %",
        "all else",
        "an explanation",
        ", measured",
        "naively",
        "memory"}) {
    EXPECT_THAT(text_, HasSubstr(name));
  }
  EXPECT_THAT(json["seconds"]["runs"], SizeIs(3));
  EXPECT_GT(json["seconds"]["median"], 0);
  EXPECT_GT(json["seconds"]["attention"], 0);
  EXPECT_EQ(json["seconds"]["communication"], 0);
  EXPECT_GT(json["rows_per_s"], 0);
  EXPECT_GT(json["memory"]["measured_bytes"], 0);
  EXPECT_NEAR(
      json["memory"]["predicted_bytes"].get<double>() /
          json["memory"]["measured_bytes"].get<double>(),
      1,
      0.15);
  EXPECT_NEAR(
      json["share"].get<double>(),
      json["useful_flops_per_s"].get<double>() / json["products_alone_flops_per_s"].get<double>(),
      1e-9);
  // Matrices take two bytes an element, the few norms four.
  EXPECT_GE(json["model"]["weight_bytes"], 2 * json["model"]["parameters"].get<std::int64_t>());
  EXPECT_LE(json["model"]["weight_bytes"], 3 * json["model"]["parameters"].get<std::int64_t>());
}

TEST_F(BenchCommandTest, CountsWhatTheNaiveWayComputes) {
  const nlohmann::json json = figures_of_small(1);
  // 42 rows of two layers and of the head, 41 times.
  const double layer = 40 * (48 + 2 * 24 + 48) + 3 * 40 * 84;
  const double pass = 2 * (42 * (2 * layer + 40 * 131) + 2 * 2 * 48 * (42 * 43 / 2));
  EXPECT_DOUBLE_EQ(json["explanation"]["naive_flops"], 41 * pass);
  EXPECT_LT(json["explanation"]["flops"], json["explanation"]["naive_flops"]);
}

TEST_F(BenchCommandTest, ExtrapolatesFromSomeBatches) {
  const nlohmann::json all = figures_of_small(1);
  EXPECT_EQ(all["explanation"]["extrapolated"], false);
  EXPECT_EQ(all["explanation"]["seconds"], all["seconds"]["median"]);
  const nlohmann::json some = figures_of_small(1, {"--batches", "2"});
  EXPECT_THAT(text_, HasSubstr("extrapolated by the plan's cost from 2 of "));
  EXPECT_EQ(some["batches"]["measured"], 2);
  EXPECT_EQ(some["batches"]["planned"], all["batches"]["planned"]);
  EXPECT_EQ(some["batches"]["planned_rows"], all["batches"]["measured_rows"]);
  EXPECT_GT(some["explanation"]["seconds"], some["seconds"]["median"]);
  const double whole = all["explanation"]["flops"];
  EXPECT_NEAR(some["explanation"]["flops"].get<double>() / whole, 1, 0.1);
}

TEST_F(BenchCommandTest, SpreadsTheModelOverTensorRanks) {
  const nlohmann::json alone = figures_of_small(1);
  const nlohmann::json shared = figures_of_small(2, {"--tensor-parallel", "2"});
  EXPECT_THAT(text_, HasSubstr("groups x tensor ranks: 1 x 2"));
  EXPECT_THAT(text_, HasSubstr("waits for other ranks included"));
  EXPECT_GT(shared["seconds"]["communication"], 0);
  EXPECT_GT(shared["collectives"]["calls"], 0);
  EXPECT_GT(shared["collectives"]["bytes"], 0);
  EXPECT_EQ(shared["model"]["parameters"], alone["model"]["parameters"]);
  EXPECT_LT(shared["model"]["weight_bytes"], alone["model"]["weight_bytes"]);
  EXPECT_NEAR(
      shared["useful_flops"].get<double>() / alone["useful_flops"].get<double>(), 0.5, 0.02);
}

TEST_F(BenchCommandTest, MeasuresGroupsSideBySide) {
  const nlohmann::json json = figures_of_small(2);
  EXPECT_THAT(text_, HasSubstr("groups x tensor ranks: 2 x 1"));
  EXPECT_THAT(text_, HasSubstr("2 at a time"));
  EXPECT_EQ(json["groups"], 2);
}

TEST_F(BenchCommandTest, TakesWhatARunTakes) {
  const nlohmann::json json = figures_of_small(
      1,
      {"--layers",
       "1",
       "--compute",
       "float32",
       "--dtype",
       "float32",
       "--suppression",
       "shifted",
       "--factor",
       "0.5",
       "--units",
       "5",
       "--samples",
       "2"});
  EXPECT_THAT(text_, HasSubstr("1 of 2 layers"));
  EXPECT_THAT(text_, HasSubstr("5 perturbations, shifted at 0.5"));
  EXPECT_EQ(json["compute"], "float32");
  EXPECT_EQ(json["model"]["layers"], 1);
  EXPECT_EQ(json["samples"]["count"], 2);
  EXPECT_DOUBLE_EQ(
      json["explanation"]["seconds"].get<double>(), json["seconds"]["median"].get<double>() / 2);
}

TEST_F(BenchCommandTest, TakesAFolderAndExperts) {
  const nlohmann::json json =
      figures(1, {"tests/data/golden/mixtral", "--tokens", "6", "--targets", "2", "--repeat", "1"});
  EXPECT_EQ(json["model"]["model_type"], "mixtral");
  EXPECT_THAT(text_, HasSubstr("experts of"));
}

TEST_F(BenchCommandTest, ReadsEveryConfigOfTheBench) {
  for (const auto& entry : std::filesystem::directory_iterator(
           std::filesystem::path(LIMN_SOURCE_DIR) / "tests/bench/configs")) {
    // As far as one can without making the weights: a prompt longer than the model takes.
    const ProgramResult result = bench(1, {entry.path().string(), "--tokens", "1000000"});
    EXPECT_EQ(result.exit_code, 64) << entry.path() << result.output;
    EXPECT_THAT(result.output, HasSubstr("the model's positions"));
  }
}

TEST_F(BenchCommandTest, MeasuresCollectives) {
  const std::string file = (folder_ / "collectives.json").string();
  const ProgramResult result = bench(2, {"--collectives", "--json", file});
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("all-reduce of float32 over 2 ranks on cpu"));
  EXPECT_THAT(result.output, HasSubstr("4.0 KiB"));
  EXPECT_THAT(result.output, HasSubstr("256.0 MiB"));
  const nlohmann::json json = read_json(file);
  ASSERT_THAT(json["all_reduce"], SizeIs(9));
  for (const auto& time : json["all_reduce"]) {
    // With two ranks every byte crosses the bus once.
    EXPECT_NEAR(
        time["bus_bytes_per_s"].get<double>() * time["seconds"].get<double>(),
        time["bytes"].get<double>(),
        1);
  }
  EXPECT_EQ(json["all_reduce"].back()["bytes"], 256 << 20);
}

TEST_F(BenchCommandTest, SaysWhatIsWrong) {
  ProgramResult result = bench(1, {"--collectives"});
  EXPECT_EQ(result.exit_code, 64);
  EXPECT_THAT(result.output, HasSubstr("--collectives needs ranks that talk"));

  result = bench(2, {(folder_ / "none.json").string()});
  EXPECT_EQ(result.exit_code, 74);
  EXPECT_THAT(lines_with(result.output, "none.json"), SizeIs(1)) << result.output;

  write_bytes(folder_ / "config.json", R"({"model_type": "perceptron"})");
  result = bench(1, {folder_.path().string()});
  EXPECT_EQ(result.exit_code, 65);
  EXPECT_THAT(result.output, HasSubstr("model_type is not supported"));

  result = bench(2, {kConfig, "--tensor-parallel", "3"});
  EXPECT_EQ(result.exit_code, 78);
  EXPECT_THAT(result.output, HasSubstr("must divide the number of ranks"));

  result = bench(1, {kConfig, "--json", (folder_ / "none" / "figures.json").string()});
  EXPECT_EQ(result.exit_code, 74);
  EXPECT_THAT(result.output, Not(HasSubstr("rows/s")));
}

}  // namespace
}  // namespace limn::test
