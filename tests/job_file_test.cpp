#include "launch/job_file.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "launch/job_keys.h"
#include "storage/error.h"
#include "tests/test_folders.h"

namespace limn::test {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;
using testing::UnorderedElementsAre;

constexpr std::string_view kLeastJob = R"([model]
path = "checkpoints/Qwen3-32B"
[data]
path = "squad.jsonl"
[output]
path = "runs/squad"
)";

Job parse(std::string_view toml, std::vector<JobOverride> overrides = {}) {
  return parse_job(toml, "job.toml", overrides);
}

Job least_job_with(std::string_view more) {
  return parse(std::string(kLeastJob).append(more));
}

// The message of the JobError that the job file is refused with.
std::string refusal(std::string_view toml, std::vector<JobOverride> overrides = {}) {
  try {
    parse(toml, std::move(overrides));
  } catch (const JobError& error) {
    return error.what();
  }
  return "not refused";
}

// The same for lines that follow the least job, so the first of them is line 7.
std::string refusal_after_least_job(std::string_view more) {
  return refusal(std::string(kLeastJob).append(more));
}

std::string refusal_of_flag(std::string key, std::string value) {
  return refusal(kLeastJob, {{std::move(key), std::move(value)}});
}

TEST(JobFileTest, ReadsEveryKey) {
  const Job job = parse(R"(
[model]
path = "m"
dtype = "float32"
compute = "float32"
[data]
path = "d.jsonl"
format = "jsonl"
limit = 7
[explain]
suppression = "shifted_full"
factor = 0.25
similarity_threshold = 0.7
spare_first_token = true
units = "auto:12"
delimiter = "/\\n#+ /"
units_over = "context"
include_target = true
target = "given"
max_new_tokens = 5
[parallel]
tensor_parallel = 4
batch_tokens = 512
device = "cpu"
[checkpoint]
interval_s = 1.5
[output]
path = "out"
)");
  const Job expected = {
      .model = {.path = "m", .dtype = "float32", .compute = "float32"},
      .data = {.path = "d.jsonl", .format = "jsonl", .limit = 7},
      .explain =
          {.suppression =
               {.kind = SuppressionKind::ShiftedFull,
                .factor = 0.25,
                .similarity_threshold = 0.7,
                .spare_first_token = true},
           .units = UnitKind::Auto,
           .num_pieces = 12,
           .delimiter = "/\\n#+ /",
           .units_over = UnitsOver::Context,
           .include_target = true,
           .target = "given",
           .max_new_tokens = 5},
      .parallel = {.tensor_parallel = 4, .batch_tokens = 512, .device = "cpu"},
      .checkpoint = {.interval_s = 1.5},
      .output = {.path = "out"},
  };
  EXPECT_EQ(job, expected);
}

TEST(JobFileTest, FallsBackToTheJobsOwnDefaults) {
  Job expected;
  expected.model.path = "checkpoints/Qwen3-32B";
  expected.data.path = "squad.jsonl";
  expected.output.path = "runs/squad";
  EXPECT_EQ(parse(kLeastJob), expected);
}

TEST(JobFileTest, TakesAWholeNumberWhereANumberIsExpected) {
  EXPECT_EQ(least_job_with("[explain]\nfactor = 2\n").explain.suppression.factor, 2.0);
}

TEST(JobFileTest, TakesAShard) {
  const Job job = parse(kLeastJob, {{"data.shard", "2/8"}});
  EXPECT_EQ(job.data.shard, (DataShard{.index = 2, .count = 8}));
  EXPECT_EQ(parse_job(to_toml(job), "again", {}), job);
  for (const char* text : {"", "2", "8/8", "-1/8", "0/0", "1/2/3", "1 /2", "a/b"}) {
    EXPECT_EQ(
        refusal_of_flag("data.shard", text),
        std::string("--data.shard must be I/N, I a whole number from 0 to N - 1: ") + text);
  }
}

TEST(JobFileTest, TakesDottedAndInlineTables) {
  const Job job = parse(
      "model = { path = \"m\" }\ndata.path = \"d\"\noutput.path = \"o\"\nexplain.factor = 0.5\n");
  EXPECT_EQ(job.explain.suppression.factor, 0.5);
}

TEST(JobFileTest, LetsFlagsWinOverTheFile) {
  const Job job = parse(
      kLeastJob,
      {{"data.limit", "3"},
       {"explain.factor", "0.1"},
       {"explain.spare_first_token", "true"},
       {"explain.units", "token"},
       {"model.path", "other"}});
  EXPECT_EQ(job.data.limit, 3);
  EXPECT_EQ(job.explain.suppression.factor, 0.1);
  EXPECT_TRUE(job.explain.suppression.spare_first_token);
  EXPECT_EQ(job.explain.units, UnitKind::Token);
  EXPECT_EQ(job.model.path, "other");
}

TEST(JobFileTest, ReportsAllMistakesAtOnceInTheOrderOfTheFile) {
  const std::string toml = std::string(kLeastJob) + R"([explain]
factor = -0.5
units = "sentense"
supression = "shifted"
[checkpoint]
interval_s = "soon"
)";
  EXPECT_EQ(
      refusal(toml, {{"parallel.batch_tokens", "0"}, {"explain.factor", "much"}}),
      "job.toml:8: explain.factor must be a number of at least 0: -0.5\n"
      "job.toml:9: explain.units must be token, word, sentence, paragraph, line, delimiter, auto:N "
      "or given, did you mean sentence: sentense\n"
      "job.toml:10: unknown key, did you mean explain.suppression: explain.supression\n"
      "job.toml:12: checkpoint.interval_s must be a number greater than 0, not a string: soon\n"
      "--parallel.batch_tokens must be a whole number of at least 1: 0\n"
      "--explain.factor must be a number of at least 0: much");
}

TEST(JobFileTest, NamesKeysThatAreMissingAndHowToGiveThem) {
  EXPECT_EQ(
      refusal("[data]\npath = \"d\"\n"),
      "job.toml: model.path is missing; set it in [model] or with --model.path\n"
      "job.toml: output.path is missing; set it in [output] or with --output.path");
  EXPECT_EQ(
      parse("", {{"model.path", "m"}, {"data.path", "d"}, {"output.path", "o"}}).data.path, "d");
}

TEST(JobFileTest, RefusesNumbersOutOfRange) {
  EXPECT_EQ(
      refusal_after_least_job("[explain]\nsimilarity_threshold = 1.5"),
      "job.toml:8: explain.similarity_threshold must be a number from 0 to 1: 1.5");
  EXPECT_EQ(
      refusal_after_least_job("[explain]\nfactor = inf"),
      "job.toml:8: explain.factor must be a number of at least 0: inf");
  EXPECT_EQ(
      refusal_after_least_job("[explain]\nfactor = nan"),
      "job.toml:8: explain.factor must be a number of at least 0: nan");
  EXPECT_EQ(
      refusal_of_flag("checkpoint.interval_s", "0"),
      "--checkpoint.interval_s must be a number greater than 0: 0");
  EXPECT_EQ(
      refusal_of_flag("data.limit", "-1"), "--data.limit must be a whole number of at least 0: -1");
  EXPECT_EQ(
      refusal_of_flag("parallel.tensor_parallel", "3000000000"),
      "--parallel.tensor_parallel must be at most 2147483647: 3000000000");
}

// A whole job with this line on line 5, in [data].
std::string data_table(const std::string& line) {
  return "[model]\npath = \"m\"\n[data]\npath = \"d\"\n" + line + "\n[output]\npath = \"o\"";
}

TEST(JobFileTest, RefusesValuesOfAnotherType) {
  EXPECT_EQ(
      refusal_after_least_job("[explain]\nfactor = \"0.1\""),
      "job.toml:8: explain.factor must be a number of at least 0, not a string: 0.1");
  EXPECT_EQ(
      refusal_after_least_job("[parallel]\nbatch_tokens = 64.0"),
      "job.toml:8: parallel.batch_tokens must be a whole number of at least 1, not a number with a "
      "fraction: 64.0");
  EXPECT_EQ(
      refusal_after_least_job("[explain]\nspare_first_token = 1"),
      "job.toml:8: explain.spare_first_token must be true or false, not a whole number: 1");
  EXPECT_EQ(
      refusal_after_least_job("[explain]\nunits = [\"word\"]"),
      "job.toml:8: explain.units must be token, word, sentence, paragraph, line, delimiter, auto:N "
      "or given, not a list of strings: [ "
      "'word' ]");
  EXPECT_EQ(
      refusal_after_least_job("[explain]\nunits = [1.5]"),
      "job.toml:8: explain.units must be token, word, sentence, paragraph, line, delimiter, auto:N "
      "or given: [ 1.5 ]");
  EXPECT_EQ(
      refusal(data_table("sample_ids = \"a\"")),
      "job.toml:5: data.sample_ids must be a list of strings, not a string: a");
  EXPECT_EQ(
      refusal(data_table("sample_ids = [\"a\", 1.5]")),
      "job.toml:5: data.sample_ids must be a list of strings: [ 'a', 1.5 ]");
  EXPECT_EQ(
      refusal(data_table("sample_ids = [\"a\", \"\"]")),
      "job.toml:5: data.sample_ids must have no empty string: [ 'a', '' ]");
  EXPECT_EQ(refusal_of_flag("data.template", ""), "--data.template must not be empty: ");
  EXPECT_EQ(
      refusal("model = 3\ndata.path = \"d\"\noutput.path = \"o\""),
      "job.toml:1: model must be a table, [model]: 3\n"
      "job.toml: model.path is missing; set it in [model] or with --model.path");
  EXPECT_EQ(
      refusal_of_flag("explain.spare_first_token", "yes"),
      "--explain.spare_first_token must be true or false: yes");
  EXPECT_EQ(
      refusal_of_flag("data.limit", "7 "), "--data.limit must be a whole number of at least 0: 7 ");
  EXPECT_EQ(refusal_of_flag("output.path", ""), "--output.path must not be empty: ");
}

TEST(JobFileTest, RefusesByNameWhatThisVersionDoesNotDoYet) {
  EXPECT_EQ(
      refusal(
          "[model]\npath = \"m\"\n\ncompute = \"int8_delta\"\n[data]\npath = \"d\"\n[output]\npath "
          "= \"o\""),
      "job.toml:4: model.compute is not supported by this version, expected auto, float32, "
      "bfloat16, bfloat16_delta or fp8_delta: int8_delta");

  struct Case {
    std::string key;
    std::string value;
  };

  const std::vector<Case> cases = {
      {"model.compute", "int8_delta"},
      {"explain.units", "grid:2x3"},
  };
  for (const Case& refused : cases) {
    EXPECT_THAT(
        refusal_of_flag(refused.key, refused.value),
        AllOf(
            HasSubstr("--" + refused.key + " is not supported by this version, expected "),
            HasSubstr(": " + refused.value)));
  }
}

TEST(JobFileTest, TakesANumberOfPieces) {
  const Job job = parse(kLeastJob, {{"explain.units", "auto:8"}});
  EXPECT_EQ(job.explain.units, UnitKind::Auto);
  EXPECT_EQ(job.explain.num_pieces, 8);
  EXPECT_EQ(value_fingerprint(job).at("explain.units"), "auto:8");
  for (const char* wrong : {"auto:0", "auto:", "auto:-1", "auto:1.5", "auto:x", "auto:8 "}) {
    EXPECT_EQ(
        refusal_of_flag("explain.units", wrong),
        std::string("--explain.units must be token, word, sentence, paragraph, line, delimiter, "
                    "auto:N or given, N a whole number of at least 1: ") +
            wrong);
  }
  EXPECT_THAT(refusal_of_flag("explain.units", "auto"), HasSubstr("did you mean auto:N: auto"));
  EXPECT_THAT(refusal_of_flag("explain.units", "paragraf"), HasSubstr("did you mean paragraph"));
  EXPECT_THAT(refusal_of_flag("explain.units", "lines"), HasSubstr("did you mean line"));
}

TEST(JobFileTest, TakesADelimiterThatCanBeUsed) {
  const auto delimiter_of = [](std::string delimiter) {
    return parse(
               kLeastJob,
               {{"explain.units", "delimiter"}, {"explain.delimiter", std::move(delimiter)}})
        .explain.delimiter;
  };
  for (const char* delimiter : {"###", "/", "//", "/^\\d+\\./"})
    EXPECT_EQ(delimiter_of(delimiter), delimiter);
  EXPECT_THAT(
      refusal_of_flag("explain.delimiter", "/(a/"),
      AllOf(
          HasSubstr(
              "--explain.delimiter must be a string, or a regular expression between slashes; "
              "the regular expression does not compile, "),
          HasSubstr(": /(a/")));
  EXPECT_EQ(
      refusal_after_least_job("[explain]\ndelimiter = 3"),
      "job.toml:8: explain.delimiter must be a string, or a regular expression between slashes, "
      "not "
      "a whole number: 3");
  EXPECT_EQ(
      refusal_after_least_job("[explain]\nunits = \"delimiter\""),
      "job.toml: explain.units is delimiter and explain.delimiter is missing; set it in [explain] "
      "or "
      "with --explain.delimiter");
  // A delimiter that is not used does no harm: a flag may ask for other units.
  EXPECT_EQ(least_job_with("[explain]\ndelimiter = \";\"").explain.units, UnitKind::Sentence);
}

TEST(JobFileTest, RefusesAContextForUnitsThatAreGiven) {
  EXPECT_EQ(
      refusal_after_least_job("[explain]\nunits = \"given\"\nunits_over = \"context\""),
      "job.toml: explain.units_over must be prompt where explain.units is given: records say "
      "themselves where their units are: context");
  EXPECT_THAT(
      refusal_of_flag("explain.units_over", "contxt"),
      HasSubstr("must be prompt or context, did you mean context"));
}

TEST(JobFileTest, SuggestsTheKeyOfAnotherTable) {
  EXPECT_EQ(
      refusal_after_least_job("[explain]\nbatch_tokens = 3"),
      "job.toml:8: unknown key, did you mean parallel.batch_tokens: explain.batch_tokens");
  EXPECT_EQ(
      refusal("factor = 0.1\n" + std::string(kLeastJob)),
      "job.toml:1: unknown key, did you mean explain.factor: factor");
  EXPECT_EQ(
      refusal_after_least_job("[explain]\nzebra = 3"), "job.toml:8: unknown key: explain.zebra");
}

TEST(JobFileTest, ReportsAnUnknownTableOnce) {
  EXPECT_EQ(
      refusal_after_least_job("[explian]\nfactor = 3\nunits = 4"),
      "job.toml:7: unknown table, did you mean [explain]: [explian]");
  EXPECT_EQ(refusal_after_least_job("[zebra]\nfactor = 3"), "job.toml:7: unknown table: [zebra]");
}

TEST(JobFileTest, NamesLineAndColumnOfWhatIsNotToml) {
  EXPECT_THAT(
      refusal_after_least_job("[explain]\nfactor = \n"), HasSubstr("job.toml:8:10: not TOML: "));
  EXPECT_THAT(
      refusal_after_least_job("[explain]\nfactor = 1\nfactor = 2\n"),
      AllOf(HasSubstr("job.toml:9:"), HasSubstr("factor")));
  EXPECT_THAT(refusal("x = \"\xff\""), HasSubstr("job.toml:1:"));
}

TEST(JobFileTest, KeepsAMessageOnItsLineWhateverTheValueHolds) {
  EXPECT_EQ(
      refusal_after_least_job("[explain]\ntarget = \"a\\nb\\u001b[31m\""),
      "job.toml:8: explain.target must be given or generate: a\\nb\\x1b[31m");
}

TEST(JobFileTest, WritesAJobThatReadsBackAsTheSame) {
  Job job = parse(kLeastJob);
  job.model.path = "a \"quoted\" path\\with\nevery'thing \u00e9";
  job.model.placement = WeightPlacement::Streamed;
  job.explain.suppression.kind = SuppressionKind::Multiplicative;
  job.explain.suppression.factor = 0.1;
  job.explain.suppression.similarity_threshold = 1.0 / 3.0;
  job.explain.suppression.spare_first_token = true;
  job.data.sample_ids = {"a", "b,\"c\"", "\u00e9\n"};
  job.data.on_error = OnError::Skip;
  job.data.evidence = EvidenceKind::Sentence;
  job.explain.units = UnitKind::Auto;
  job.explain.num_pieces = 7;
  job.explain.delimiter = "/\\[\\d+\\]|\n\"/";
  job.explain.include_target = true;
  job.checkpoint.interval_s = 1e-300;
  job.parallel.batch_tokens = std::int64_t{1} << 40;
  EXPECT_EQ(parse(to_toml(job)), job) << to_toml(job);
}

TEST(JobFileTest, TakesIdsFromAListOrWithCommasFromAFlag) {
  const std::string least(kLeastJob);
  const std::string with_list = data_table("sample_ids = [\"a\", 17]");
  EXPECT_THAT(parse(with_list).data.sample_ids, ElementsAre("a", "17"));
  const std::vector<JobOverride> flags = {{"data.sample_ids", "a,17"}};
  EXPECT_THAT(parse_job(least, "job.toml", flags).data.sample_ids, ElementsAre("a", "17"));
  const std::vector<JobOverride> none = {{"data.sample_ids", ""}};
  EXPECT_THAT(parse_job(with_list, "job.toml", none).data.sample_ids, ElementsAre());
}

TEST(JobFileTest, WritesEveryKeyInItsShortestForm) {
  EXPECT_EQ(to_toml(parse(kLeastJob)), R"([model]
path = "checkpoints/Qwen3-32B"
dtype = "auto"
compute = "auto"
placement = "resident"
[data]
path = "squad.jsonl"
format = "jsonl"
limit = 0
skip = 0
sample_ids = []
shard = "0/1"
on_error = "fail"
template = "{context}\nQuestion: {question}\nAnswer:"
evidence = "answer"
[explain]
suppression = "log_additive"
factor = 0.0
similarity_threshold = 0.0
spare_first_token = false
units = "sentence"
delimiter = ""
units_over = "prompt"
include_target = false
target = "given"
max_new_tokens = 32
[parallel]
tensor_parallel = 1
batch_tokens = 16384
device = "auto"
timeout_s = 600.0
[checkpoint]
interval_s = 60.0
[output]
path = "runs/squad"
)");
}

TEST(JobFileTest, FingerprintsWhatCanAlterValuesOrBatches) {
  const Job job = parse(kLeastJob);
  EXPECT_THAT(
      value_fingerprint(job),
      UnorderedElementsAre(
          Pair("model.dtype", "auto"),
          Pair("model.compute", "auto"),
          Pair("data.format", "jsonl"),
          Pair("data.limit", "0"),
          Pair("data.skip", "0"),
          Pair("data.shard", "0/1"),
          Pair("data.sample_ids", "[]"),
          Pair("data.on_error", "fail"),
          Pair("data.template", "{context}\nQuestion: {question}\nAnswer:"),
          Pair("data.evidence", "answer"),
          Pair("explain.suppression", "log_additive"),
          Pair("explain.factor", "0.0"),
          Pair("explain.similarity_threshold", "0.0"),
          Pair("explain.spare_first_token", "false"),
          Pair("explain.units", "sentence"),
          Pair("explain.delimiter", ""),
          Pair("explain.units_over", "prompt"),
          Pair("explain.include_target", "false"),
          Pair("explain.target", "given"),
          Pair("explain.max_new_tokens", "32"),
          Pair("parallel.tensor_parallel", "1"),
          Pair("parallel.batch_tokens", "16384")));
}

TEST(JobFileTest, ReadsFilesAndRefusesThoseThatCannotBeRead) {
  const std::filesystem::path folder =
      std::filesystem::path(testing::TempDir()) / "limn_job_file_test";
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "job.toml") << kLeastJob;
  std::ofstream(folder / "empty.toml") << "";

  EXPECT_EQ(read_job(folder / "job.toml", {}), parse(kLeastJob));
  EXPECT_THROW(read_job(folder / "empty.toml", {}), JobError);
  EXPECT_THROW(read_job(folder / "absent.toml", {}), IoError);
  EXPECT_THROW(read_job(folder, {}), IoError);
}

TEST(JobKeysTest, HaveNamesThatAreFoundAndDefaultsThatAreAllowed) {
  for (const JobKey& key : job_keys()) {
    EXPECT_EQ(find_job_key(key.name), &key);
    if (is_required(key)) continue;
    EXPECT_EQ(objection(key.rule, key.get(Job{})), std::nullopt) << key.name;
  }
  EXPECT_EQ(find_job_key("explain"), nullptr);
}

TEST(JobKeysTest, AreAllExplainedOnTheDocumentsPage) {
  std::ifstream page(source_folder() / "docs" / "job-file.md");
  const std::string text(std::istreambuf_iterator<char>(page), {});
  for (const JobKey& key : job_keys())
    EXPECT_THAT(text, HasSubstr("`" + std::string(key.name) + "`"));
}

}  // namespace
}  // namespace limn::test
