// `limn run` from end to end: the real program under mpirun, a trained model, and answers that come
// from transformers in float64 (tests/data/stories260K/make_oracle.py).

#include <cmath>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "storage/json_file.h"
#include "storage/relevance_file.h"
#include "tests/limn_program.h"
#include "tests/temporary_folder.h"
#include "tests/test_folders.h"

namespace limn::test {

namespace {

using testing::HasSubstr;
using testing::SizeIs;

const std::string kJob = "launch/examples/stories260K/job.toml";

using Arguments = std::vector<std::string>;

struct Mesh {
  int ranks;
  int tensor_parallel;
};

// Of the example's four key/value heads three ranks hold 2, 1 and 1; of the golden model's two,
// four ranks hold each one twice.
constexpr Mesh kMeshes[] = {{2, 2}, {3, 3}, {4, 4}, {4, 2}, {4, 1}};

// limn run of the example (or of what `more` says), which must end well.
std::vector<SampleRecord> run_example(
    int ranks, int tensor_parallel, const Arguments& more, const std::filesystem::path& directory) {
  Arguments arguments{
      "run",
      kJob,
      "--output.path",
      directory.string(),
      "--parallel.tensor_parallel",
      std::to_string(tensor_parallel)};
  arguments.insert(arguments.end(), more.begin(), more.end());
  const ProgramResult result = run_to_end(limn_on_ranks(ranks, arguments));
  EXPECT_EQ(result.exit_code, 0) << result.output;
  std::vector<SampleRecord> samples;
  const RelevanceReader reader(directory / "relevance.h5");
  EXPECT_TRUE(reader.attributes().complete);
  for (std::int64_t i = 0; i < reader.num_samples(); ++i)
    samples.push_back(reader.read(i));
  return samples;
}

// The largest difference of any delta or base log-probability: relative to values larger than 1,
// for what float32 gives of a trained model is right to so many digits, not to so many decimals.
double largest_difference(const std::vector<SampleRecord>& a, const std::vector<SampleRecord>& b) {
  double largest = 0;
  const auto compare = [&](double x, double y) {
    const double difference = std::abs(x - y) / std::max(1.0, std::abs(x));
    largest = std::max(largest, std::isnan(difference) ? 1e9 : difference);
  };
  EXPECT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    EXPECT_EQ(a[i].id, b[i].id);
    EXPECT_EQ(a[i].units, b[i].units);
    EXPECT_EQ(a[i].delta.size(), b[i].delta.size());
    for (std::size_t k = 0; k < a[i].delta.size(); ++k)
      compare(a[i].delta[k], b[i].delta[k]);
    for (std::size_t k = 0; k < a[i].targets.size(); ++k) {
      compare(a[i].targets[k].log_prob, b[i].targets[k].log_prob);
    }
  }
  return largest;
}

std::vector<std::vector<std::int32_t>> unit_tokens(const SampleRecord& sample) {
  std::vector<std::vector<std::int32_t>> tokens;
  for (const UnitRecord& unit : sample.units)
    tokens.push_back(unit.tokens);
  return tokens;
}

void expect_near(const nlohmann::json& expected, float got, const std::string& what) {
  EXPECT_NEAR(expected.get<double>(), got, 2e-4) << what;
}

class RunTest : public testing::Test {
 protected:
  TemporaryFolder folder;
};

}  // namespace

// What reads the model links a protocol buffer library, as PyTorch does.
TEST_F(RunTest, ReadsASentencePieceModelBesidePyTorch) {
  const std::filesystem::path model = folder / "model";
  std::filesystem::copy(source_folder() / "launch/examples/stories260K/model", model);
  std::filesystem::remove(model / "tokenizer.json");
  std::filesystem::copy_file(
      test_data() / "tokenizers/sentencepiece-model/tokenizer.model", model / "tokenizer.model");
  write_bytes(
      folder / "prompts.jsonl", "{\"prompt\": \"The ships passed.\", \"target\": \" They\"}\n");
  const Arguments more{
      "--model.path", model.string(), "--data.path", (folder / "prompts.jsonl").string()};
  const std::vector<SampleRecord> samples = run_example(1, 1, more, folder / "run");
  ASSERT_THAT(samples, SizeIs(1));
  EXPECT_EQ(samples[0].tokens.front(), (TokenRecord{1, {-1, -1}}));
  EXPECT_EQ(samples[0].tokens[1].chars.begin, 0);
  EXPECT_THAT(samples[0].units, SizeIs(testing::Gt(0)));
}

TEST_F(RunTest, GivesTheAnswersOfTransformers) {
  const nlohmann::json oracle = read_json(test_data() / "stories260K" / "oracle.json");
  const nlohmann::json& expected = oracle["samples"];
  const std::size_t num_cases = expected[0]["cases"].size();
  for (std::size_t c = 0; c < num_cases; ++c) {
    const std::string semantics = expected[0]["cases"][c]["semantics"];
    const std::string factor = expected[0]["cases"][c]["factor"].dump();
    const auto samples = run_example(
        2,
        2,
        {"--explain.suppression", semantics, "--explain.factor", factor},
        folder / std::to_string(c));
    ASSERT_THAT(samples, SizeIs(expected.size()));
    for (std::size_t i = 0; i < samples.size(); ++i) {
      const SampleRecord& sample = samples[i];
      const std::size_t num_targets = sample.targets.size();
      EXPECT_EQ(sample.id, expected[i]["id"]);
      EXPECT_EQ(unit_tokens(sample), expected[i]["units"]) << sample.id;
      ASSERT_EQ(num_targets, expected[i]["target_ids"].size());
      for (std::size_t t = 0; t < num_targets; ++t) {
        EXPECT_EQ(sample.targets[t].token, expected[i]["target_ids"][t]);
        expect_near(expected[i]["base_log_probs"][t], sample.targets[t].log_prob, sample.id);
      }
      const nlohmann::json& delta = expected[i]["cases"][c]["delta"];
      ASSERT_EQ(sample.delta.size(), delta.size() * num_targets);
      for (std::size_t k = 0; k < sample.delta.size(); ++k) {
        expect_near(
            delta[k / num_targets][k % num_targets],
            sample.delta[k],
            fmt::format("{} {} of {}, unit {}", semantics, factor, sample.id, k / num_targets));
      }
    }
  }
}

TEST_F(RunTest, DoesNotDependOnTheMesh) {
  const auto alone = run_example(1, 1, {}, folder / "1x1");

  struct Mesh {
    int ranks;
    int tensor_parallel;
  };

  // Of four key/value heads three ranks hold 2, 1 and 1.
  for (const Mesh& mesh : {Mesh{2, 2}, {3, 3}, {4, 4}, {4, 2}, {4, 1}}) {
    const std::string name = fmt::format("{}x{}", mesh.ranks, mesh.tensor_parallel);
    const auto samples = run_example(mesh.ranks, mesh.tensor_parallel, {}, folder / name);
    EXPECT_LT(largest_difference(alone, samples), 1e-5) << name;
  }
}

TEST_F(RunTest, ReplicatesKeyValueHeads) {
  // Eight ranks and four key/value heads.
  const auto alone = run_example(1, 1, {"--data.limit", "4"}, folder / "1x1");
  const auto samples = run_example(8, 8, {"--data.limit", "4"}, folder / "8x8");
  // Sums of eight addends instead of one; each run is about 1e-5 from float64 (oracle.json).
  EXPECT_LT(largest_difference(alone, samples), 2e-5);
}

TEST_F(RunTest, DoesNotDependOnTheBatches) {
  const auto usual = run_example(1, 1, {}, folder / "usual");
  for (const char* batch_tokens : {"16", "64", "100000"}) {
    const auto samples =
        run_example(2, 1, {"--parallel.batch_tokens", batch_tokens}, folder / batch_tokens);
    EXPECT_LT(largest_difference(usual, samples), 1e-5) << batch_tokens;
  }
}

TEST_F(RunTest, ExplainsEveryKindOfUnit) {
  for (const char* units :
       {"token", "word", "sentence", "paragraph", "line", "delimiter", "auto:4"}) {
    const auto samples = run_example(
        2, 1, {"--explain.units", units, "--explain.delimiter", "/[,.]/"}, folder / units);
    ASSERT_THAT(samples, SizeIs(20));
    for (const SampleRecord& sample : samples)
      EXPECT_FALSE(sample.units.empty());
  }
}

TEST_F(RunTest, ExplainsAlternativeTargetsAsIfTheyWereRecords) {
  const std::string begin =
      "{\"prompt\": \"Tom had a red ball and Sue had a blue hat. Tom threw the\", ";
  write_bytes(
      folder / "together.jsonl",
      begin + "\"id\": \"a\", \"targets\": [\" ball\", \" hat. Sue was sad\", \"\\nEnd\"]}\n" +
          begin + "\"id\": \"b\", \"target\": \" red ball\"}\n");
  write_bytes(
      folder / "apart.jsonl",
      begin + "\"id\": \"a#0\", \"target\": \" ball\"}\n" + begin +
          "\"id\": \"a#1\", \"target\": \" hat. Sue was sad\"}\n" + begin +
          "\"id\": \"a#2\", \"target\": \"\\nEnd\"}\n" + begin +
          "\"id\": \"b\", \"target\": \" red ball\"}\n");
  const auto run_of = [&](const std::string& dataset, const std::string& batch_tokens) {
    return run_example(
        2,
        2,
        {"--data.path",
         (folder / (dataset + ".jsonl")).string(),
         "--parallel.batch_tokens",
         batch_tokens,
         "--explain.include_target",
         "true"},
        folder / (dataset + batch_tokens));
  };
  const auto apart = run_of("apart", "16384");
  EXPECT_THAT(apart, SizeIs(4));
  // In one batch, and in many.
  for (const char* batch_tokens : {"16384", "100"})
    EXPECT_LT(largest_difference(apart, run_of("together", batch_tokens)), 1e-5) << batch_tokens;
}

TEST_F(RunTest, UnitsOfTheTargetSayNothingOfTokensBeforeThem) {
  // With the same words of the prompt suppressed, too, or not.
  for (const char* threshold : {"0", "0.9"}) {
    const auto samples = run_example(
        1,
        1,
        {"--explain.include_target", "true", "--explain.similarity_threshold", threshold},
        folder / threshold);
    for (const SampleRecord& sample : samples) {
      const std::size_t num_targets = sample.targets.size();
      const std::size_t num_prompt_units = sample.units.size() - num_targets;
      for (std::size_t unit = 0; unit < num_targets; ++unit) {
        for (std::size_t target = 0; target < num_targets; ++target) {
          const float delta = sample.delta[(num_prompt_units + unit) * num_targets + target];
          EXPECT_EQ(delta == 0, target <= unit) << sample.id;
        }
      }
    }
  }
}

TEST_F(RunTest, GivesTheSameBitsWhereverTheWeightsAre) {
  for (const Mesh& mesh : {Mesh{1, 1}, {2, 2}, {2, 1}}) {
    const auto run_with = [&](const std::string& placement) {
      return run_example(
          mesh.ranks,
          mesh.tensor_parallel,
          {"--model.placement", placement},
          folder / fmt::format("{}-{}x{}", placement, mesh.ranks, mesh.tensor_parallel));
    };
    EXPECT_EQ(largest_difference(run_with("streamed"), run_with("resident")), 0)
        << mesh.ranks << " ranks, tensor_parallel " << mesh.tensor_parallel;
  }
}

TEST_F(RunTest, ExplainsWhatTheModelAnswers) {
  const Arguments generate = {
      "--explain.target", "generate", "--explain.max_new_tokens", "6", "--data.limit", "8"};
  const auto alone = run_example(1, 1, generate, folder / "alone");
  ASSERT_THAT(alone, SizeIs(8));

  // The same answers as targets of the dataset are the same samples, to the last bit.
  const auto prompts = lines_with(read_bytes("launch/examples/stories260K/prompts.jsonl"), "{");
  std::string given;
  for (std::size_t i = 0; i < alone.size(); ++i) {
    nlohmann::json record = nlohmann::json::parse(prompts.at(i));
    record.erase("target");
    for (const TargetRecord& target : alone[i].targets)
      record["target_ids"].push_back(target.token);
    EXPECT_THAT(record["target_ids"], SizeIs(6)) << "stories do not end here";
    given += record.dump() + "\n";
  }
  write_bytes(folder / "given.jsonl", given);
  const auto as_given =
      run_example(1, 1, {"--data.path", (folder / "given.jsonl").string()}, folder / "given");
  EXPECT_EQ(largest_difference(alone, as_given), 0);

  for (const Mesh& mesh : {Mesh{2, 2}, {4, 2}, {3, 1}}) {
    const std::string name = fmt::format("{}x{}", mesh.ranks, mesh.tensor_parallel);
    const auto samples = run_example(mesh.ranks, mesh.tensor_parallel, generate, folder / name);
    EXPECT_LT(largest_difference(alone, samples), 1e-5) << name;
    EXPECT_EQ(
        read_bytes(folder / name / "targets.jsonl"), read_bytes(folder / "alone/targets.jsonl"));
  }
}

TEST_F(RunTest, FactorOneGivesZerosToTheFile) {
  for (const SampleRecord& sample : run_example(2, 2, {"--explain.factor", "1"}, folder / "run")) {
    EXPECT_THAT(sample.delta, testing::Each(0.0F));
  }
}

// The golden models, their tokens and units through the job file, the dataset and the relevance
// file.
class GoldenRunTest : public RunTest {
 protected:
  std::vector<SampleRecord> run_case(
      const std::string& name, std::size_t number, int ranks, int tensor_parallel) {
    const nlohmann::json golden = read_json(golden_folder(name) / "golden.json");
    const auto ids = golden["input_ids"].get<std::vector<int>>();
    const auto prompt_end = ids.begin() + golden["prompt_length"].get<int>();
    const nlohmann::json record{
        {"id", "golden"},
        {"input_ids", std::vector<int>(ids.begin(), prompt_end)},
        {"target_ids", golden["target_ids"]},
        {"unit_tokens", golden["units"]}};
    write_bytes(folder / "golden.jsonl", record.dump() + "\n");

    const nlohmann::json& wanted = golden["cases"][number];
    const nlohmann::json& kappa = wanted["kappa"];
    return run_example(
        ranks,
        tensor_parallel,
        {"--model.path",
         golden_folder(name).string(),
         "--data.path",
         (folder / "golden.jsonl").string(),
         "--explain.units",
         "given",
         "--explain.suppression",
         wanted["semantics"],
         "--explain.factor",
         wanted["factor"].dump(),
         "--explain.similarity_threshold",
         kappa.is_null() ? "0" : kappa.dump()},
        folder / fmt::format("{}-{}-{}x{}", name, number, ranks, tensor_parallel));
  }

  static std::filesystem::path golden_folder(const std::string& name) {
    return test_data() / "golden" / name;
  }
};

TEST_F(GoldenRunTest, GivesTheAnswersInEveryCase) {
  for (const char* name : {"llama", "llama_6_3_tied"}) {
    const nlohmann::json golden = read_json(golden_folder(name) / "golden.json");
    const std::size_t num_targets = golden["target_ids"].size();
    for (std::size_t number = 0; number < golden["cases"].size(); ++number) {
      const auto samples = run_case(name, number, 2, 2);
      ASSERT_THAT(samples, SizeIs(1));
      const nlohmann::json& delta = golden["cases"][number]["delta"];
      ASSERT_EQ(samples[0].delta.size(), delta.size() * num_targets);
      for (std::size_t k = 0; k < samples[0].delta.size(); ++k) {
        expect_near(
            delta[k / num_targets][k % num_targets],
            samples[0].delta[k],
            fmt::format("{}, case {}, unit {}", name, number, k / num_targets));
      }
    }
  }
}

TEST_F(GoldenRunTest, DoesNotDependOnTheMesh) {
  // Case 7: shifted with similar keys, which needs the embeddings of all tensor ranks.
  for (const std::size_t number : {std::size_t{1}, std::size_t{7}}) {
    const auto alone = run_case("llama", number, 1, 1);
    for (const Mesh& mesh : kMeshes) {
      const auto samples = run_case("llama", number, mesh.ranks, mesh.tensor_parallel);
      EXPECT_LT(largest_difference(alone, samples), 1e-5)
          << mesh.ranks << " ranks, tensor_parallel " << mesh.tensor_parallel;
    }
  }
}

TEST_F(RunTest, SaysThatNothingIsLeftToDo) {
  run_example(2, 1, {}, folder / "run");
  const std::string before = read_bytes(folder / "run/relevance.h5");
  const ProgramResult again =
      run_to_end(limn_on_ranks(2, {"run", kJob, "--output.path", (folder / "run").string()}));
  EXPECT_EQ(again.exit_code, 0);
  EXPECT_THAT(again.output, HasSubstr("nothing left to do"));
  EXPECT_EQ(read_bytes(folder / "run/relevance.h5"), before);
}

TEST_F(RunTest, PrintsItsVersionAndHelpOnceOnManyRanks) {
  EXPECT_THAT(run_to_end({LIMN_PROGRAM, "--version"}).output, HasSubstr("limn "));
  const ProgramResult version = run_to_end(limn_on_ranks(3, {"run", "--version"}));
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_THAT(lines_with(version.output, "limn "), SizeIs(1));
  const ProgramResult help = run_to_end(limn_on_ranks(3, {"run", "--help"}));
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_THAT(lines_with(help.output, "--explain.factor"), SizeIs(1));
}

TEST_F(RunTest, KeepsSkippedSamplesInTheResultAndSaysSo) {
  write_bytes(
      folder / "data.jsonl",
      "{\"id\": \"good\", \"prompt\": \"Tom had a ball.\", \"target\": \" He\"}\n"
      "{\"id\": \"bad\", \"prompt\": \"\", \"target\": \" He\"}\n"
      "{\"id\": \"long\", \"prompt\": \"" +
          std::string(10'000'000, 'x') +
          "\", \"target\": \" He\"}\n"
          "not \xFF JSON\n");
  const Arguments arguments{
      "run",
      kJob,
      "--data.path",
      (folder / "data.jsonl").string(),
      "--data.on_error",
      "skip",
      "--output.path",
      (folder / "run").string()};
  const ProgramResult first = run_to_end(limn_on_ranks(2, arguments));
  ASSERT_EQ(first.exit_code, 0) << first.output;
  EXPECT_THAT(
      lines_with(first.output, "samples that are skipped: 3 of 4; the first: data.jsonl:2: prompt"),
      SizeIs(1))
      << first.output;
  EXPECT_THAT(lines_with(first.output, "samples skipped: 3 of 4; `limn show` says"), SizeIs(1));

  const RelevanceReader reader(folder / "run/relevance.h5");
  EXPECT_TRUE(reader.attributes().complete);
  EXPECT_EQ(reader.sample_ids(), (std::vector<std::string>{"good", "bad", "long", "data.jsonl:4"}));
  EXPECT_EQ(reader.read(0).status, SampleStatus::Ok);
  EXPECT_FALSE(reader.read(0).delta.empty());
  for (int i = 1; i < 4; ++i)
    EXPECT_EQ(reader.read(i).status, SampleStatus::Skipped);
  EXPECT_THAT(reader.read(2).message, HasSubstr("data.jsonl:3: the model takes at most"));

  const ProgramResult shown = run_to_end({LIMN_PROGRAM, "show", (folder / "run").string()});
  EXPECT_THAT(shown.output, HasSubstr("skipped: data.jsonl:4: not JSON"));
  EXPECT_THAT(shown.output, testing::EndsWith("\nskipped: 3 of 4\n"));
  const ProgramResult again = run_to_end(limn_on_ranks(1, arguments));
  EXPECT_EQ(again.exit_code, 0);
  EXPECT_THAT(again.output, HasSubstr("nothing left to do"));
}

TEST_F(RunTest, ExplainsQuestionsOfSquad) {
  write_bytes(
      folder / "q.json",
      R"({"data": [{"title": "Tom", "paragraphs": [{"context": "Tom had a ball. Ann had a cat.", "qas": [)"
      R"({"id": "a", "question": "Who had a cat?", "answers": [{"text": "Ann", "answer_start": 16}]},)"
      R"({"id": "b", "question": "Who had a dog?", "answers": [], "is_impossible": true}]}]}]})");
  const auto samples = run_example(
      1,
      1,
      {"--data.path",
       (folder / "q.json").string(),
       "--data.format",
       "squad",
       "--data.template",
       "{context} {question}",
       "--explain.units",
       "sentence"},
      folder / "run");
  ASSERT_THAT(samples, SizeIs(2));
  EXPECT_EQ(samples[0].text, "Tom had a ball. Ann had a cat. Who had a cat? Ann");
  EXPECT_THAT(samples[0].units, SizeIs(3));
  ASSERT_THAT(samples[0].evidence, SizeIs(1));
  EXPECT_EQ(samples[0].evidence[0].chars, (CharRange{16, 19}));
  EXPECT_EQ(samples[1].status, SampleStatus::Skipped);
  EXPECT_THAT(samples[1].message, HasSubstr("the question has no answer"));
}

}  // namespace limn::test
