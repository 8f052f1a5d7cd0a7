#include "coordinator/sample.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "coordinator/code_points.h"
#include "storage/error.h"
#include "tests/test_folders.h"
#include "tests/unit_texts.h"

namespace limn::test {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::Eq;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;
using testing::ThrowsMessage;

const std::filesystem::path kTokenizerFolder = test_data() / "sample_tokenizer";
const std::filesystem::path kSharedFolder = shared_folder();

json read_json_of(const std::filesystem::path& path) {
  return json::parse(std::ifstream(path));
}

DatasetRecord text_record(std::string prompt, std::string target) {
  return {
      .where = "squad.jsonl:7",
      .id = "7",
      .prompt = std::move(prompt),
      .input_ids = {},
      .target = std::move(target),
      .target_ids = {},
      .units = {},
      .unit_tokens = {},
      .evidence = {}};
}

DatasetRecord id_record(std::vector<std::int32_t> input_ids, std::vector<std::int32_t> target_ids) {
  return {
      .where = "squad.jsonl:7",
      .id = "7",
      .prompt = {},
      .input_ids = std::move(input_ids),
      .target = {},
      .target_ids = std::move(target_ids),
      .units = {},
      .unit_tokens = {},
      .evidence = {}};
}

ExplainOptions explain(UnitKind units) {
  ExplainOptions options;
  options.units = units;
  return options;
}

std::vector<std::int32_t> ids_of(const SampleRecord& record) {
  std::vector<std::int32_t> ids;
  for (const TokenRecord& token : record.tokens)
    ids.push_back(token.id);
  return ids;
}

std::vector<CharRange> chars_of(const SampleRecord& record) {
  std::vector<CharRange> ranges;
  for (const TokenRecord& token : record.tokens)
    ranges.push_back(token.chars);
  return ranges;
}

auto refuses(const std::string& text) {
  return ThrowsMessage<DataError>(AllOf(StartsWith("squad.jsonl:7: "), HasSubstr(text)));
}

class SampleTest : public testing::Test {
 protected:
  Sample prepare(const DatasetRecord& record, UnitKind kind = UnitKind::Sentence) const {
    return SamplePreparer(&tokenizer_, explain(kind), {.vocab_size = 349}).prepare(record);
  }

  Sample prepare_without_tokenizer(
      const DatasetRecord& record, UnitKind kind = UnitKind::Token) const {
    const ModelLimits limits{.vocab_size = 349, .folder = "a/model"};
    return SamplePreparer(nullptr, explain(kind), limits).prepare(record);
  }

  const Tokenizer tokenizer_ = Tokenizer::load(kTokenizerFolder);
};

// splits.json is lm-evaluation-harness's convention in Python; see make_golden.py beside it.
TEST_F(SampleTest, SplitsWhereThePromptsOwnEncodingEnds) {
  for (const json& golden : read_json_of(kTokenizerFolder / "splits.json")) {
    SCOPED_TRACE(golden.dump());
    const auto prompt = golden["prompt"].get<std::string>();
    const auto target = golden["target"].get<std::string>();
    const Sample sample = prepare(text_record(prompt, target), UnitKind::Token);
    EXPECT_THAT(sample.record.text, Eq(prompt + target));
    EXPECT_THAT(ids_of(sample.record), Eq(golden["ids"].get<std::vector<std::int32_t>>()));
    EXPECT_THAT(sample.prompt_length, Eq(golden["prompt_length"].get<std::int64_t>()));
    std::vector<CharRange> chars;
    for (const json& range : golden["chars"])
      chars.push_back({range[0], range[1]});
    EXPECT_THAT(chars_of(sample.record), Eq(chars));
  }
}

TEST_F(SampleTest, FillsTheRecord) {
  DatasetRecord record = text_record("The capital of France is", " Paris.");
  record.index = 41;
  record.evidence = {{.chars = {15, 21}, .box = {}}};
  const Sample sample = prepare(record);
  EXPECT_THAT(sample.index, Eq(41));
  EXPECT_THAT(sample.prompt_length, Eq(6));
  EXPECT_THAT(sample.fed_length(), Eq(7));
  EXPECT_THAT(sample.record.id, Eq("7"));
  EXPECT_THAT(sample.record.status, Eq(SampleStatus::Ok));
  EXPECT_THAT(sample.record.evidence, Eq(record.evidence));
  EXPECT_THAT(sample.record.delta, IsEmpty());
  ASSERT_THAT(sample.record.targets.size(), Eq(2));
  EXPECT_THAT(sample.record.targets[0].position, Eq(6));
  EXPECT_THAT(sample.record.targets[0].token, Eq(302));
  EXPECT_TRUE(std::isnan(sample.record.targets[0].log_prob));
  EXPECT_THAT(sample.record.targets[1].position, Eq(7));
  EXPECT_THAT(sample.record.targets[1].token, Eq(15));
}

TEST_F(SampleTest, CutsSentencesOfThePromptOnly) {
  const Sample sample = prepare(text_record(
      "The hamster eats. Dr. Smith said: It rained.\nQuestion: What?\n", " The carrots. Paris."));
  EXPECT_THAT(
      unit_texts(sample.record),
      ElementsAre("The hamster eats.", "Dr. Smith said: It rained.", "Question: What?"));
  // Position 0 is <s>; a line's end belongs to no sentence.
  EXPECT_THAT(sample.record.units[0].tokens, ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(sample.record.units[1].tokens, ElementsAre(5, 6, 7, 8, 9, 10, 11, 12));
  for (const UnitRecord& unit : sample.record.units) {
    EXPECT_THAT(unit.tokens, Each(testing::Lt(sample.prompt_length)));
  }
}

TEST_F(SampleTest, DropsWordsWhoseTokensBelongToOthers) {
  // ")." is one token and belongs to the bracket; the full stop gets none.
  const Sample sample =
      prepare(text_record("She ate (the carrots). He ate", " too"), UnitKind::Word);
  EXPECT_THAT(
      unit_texts(sample.record),
      ElementsAre("She", "ate", "(", "the", "carrots", ")", "He", "ate"));
  for (const UnitRecord& unit : sample.record.units)
    EXPECT_THAT(unit.tokens.size(), Eq(1));
}

TEST_F(SampleTest, MakesAUnitOfEveryTokenButTheSpecialOnes) {
  const Sample sample =
      prepare(text_record("The capital of France is", " Paris."), UnitKind::Token);
  EXPECT_THAT(
      unit_tokens(sample.record),
      ElementsAre(ElementsAre(1), ElementsAre(2), ElementsAre(3), ElementsAre(4), ElementsAre(5)));
}

TEST_F(SampleTest, TakesGivenRangesAsTheyAre) {
  DatasetRecord record = text_record("The hamster eats the carrots.", " Paris");
  // "ham" is a part of a token, "hamster" is the whole of it, and ranges may overlap.
  record.units = {{12, 16}, {4, 7}, {4, 11}};
  const Sample sample = prepare(record, UnitKind::Given);
  EXPECT_THAT(unit_texts(sample.record), ElementsAre("eats", "ham", "hamster"));
  EXPECT_THAT(
      unit_tokens(sample.record), ElementsAre(ElementsAre(3), ElementsAre(2), ElementsAre(2)));
}

TEST_F(SampleTest, RefusesGivenRangesThatMarkNothing) {
  DatasetRecord record = text_record("The hamster eats the carrots.", " Paris");
  for (const CharRange range : {CharRange{4, 4}, CharRange{20, 30}, CharRange{40, 41}}) {
    record.units = {{0, 3}, range};
    EXPECT_THAT(
        [&] { prepare(record, UnitKind::Given); },
        refuses(fmt::format(
            "one or more of the prompt's 29 characters: [{}, {})", range.begin, range.end)));
  }
  record.units = {{3, 4}};
  EXPECT_THAT([&] { prepare(record, UnitKind::Given); }, refuses("covers no token"));
  record.units.emplace();
  EXPECT_THAT([&] { prepare(record, UnitKind::Given); }, refuses("no unit"));
}

TEST_F(SampleTest, SortsGivenPositionsAndLetsThemLieInTheTarget) {
  DatasetRecord record = text_record("The capital of France is", " Paris.");
  record.unit_tokens = {{4, 2, 4}, {6}, {7, 0}};
  const Sample sample = prepare(record, UnitKind::Given);
  EXPECT_THAT(
      unit_tokens(sample.record),
      ElementsAre(ElementsAre(2, 4), ElementsAre(6), ElementsAre(0, 7)));
  EXPECT_THAT(sample.record.units[0].chars, Eq(CharRange{}));
}

TEST_F(SampleTest, RefusesGivenPositionsThatDoNotExist) {
  DatasetRecord record = text_record("The capital of France is", " Paris.");
  record.unit_tokens = {{1}, {8}};
  EXPECT_THAT(
      [&] { prepare(record, UnitKind::Given); },
      refuses("positions of the 8 tokens of prompt and target: 8"));
  record.unit_tokens = {{1}, {}};
  EXPECT_THAT([&] { prepare(record, UnitKind::Given); }, refuses("must have a position"));
  record.unit_tokens.reset();
  EXPECT_THAT([&] { prepare(record, UnitKind::Given); }, refuses("the record has no units"));
}

TEST_F(SampleTest, LeavesGivenUnitsAsideWhenOthersAreAskedFor) {
  DatasetRecord record = text_record("The hamster eats.", " Paris");
  record.units = {{100, 200}};
  EXPECT_THAT(unit_texts(prepare(record).record), ElementsAre("The hamster eats."));
}

TEST_F(SampleTest, SpellsOutIds) {
  // <s>The capital of France is. Paris.</s>: only <s> and </s> are what the tokenizer adds.
  const DatasetRecord record = id_record({0, 264, 280, 276, 301, 274, 15}, {302, 15, 1});
  const Sample sample = prepare(record, UnitKind::Word);
  EXPECT_THAT(sample.record.text, Eq("The capital of France is. Paris."));
  EXPECT_THAT(sample.prompt_length, Eq(7));
  EXPECT_THAT(sample.record.targets.size(), Eq(3));
  EXPECT_THAT(unit_texts(sample.record), ElementsAre("The", "capital", "of", "France", "is", "."));
  EXPECT_THAT(
      chars_of(sample.record),
      ElementsAre(
          CharRange{},
          CharRange{0, 3},
          CharRange{3, 11},
          CharRange{11, 14},
          CharRange{14, 21},
          CharRange{21, 24},
          CharRange{24, 25},
          CharRange{25, 31},
          CharRange{31, 32},
          CharRange{}));
  EXPECT_THAT(prepare(record, UnitKind::Token).record.units.size(), Eq(6));
}

TEST_F(SampleTest, TakesIdsWithoutATokenizer) {
  DatasetRecord record = id_record({5, 6, 7}, {8, 9});
  const Sample sample = prepare_without_tokenizer(record);
  EXPECT_THAT(ids_of(sample.record), ElementsAre(5, 6, 7, 8, 9));
  EXPECT_THAT(sample.record.text, Eq(""));
  EXPECT_THAT(chars_of(sample.record), Each(CharRange{}));
  EXPECT_THAT(
      unit_tokens(sample.record), ElementsAre(ElementsAre(0), ElementsAre(1), ElementsAre(2)));
  record.unit_tokens = {{0, 1}};
  EXPECT_THAT(
      unit_tokens(prepare_without_tokenizer(record, UnitKind::Given).record),
      ElementsAre(ElementsAre(0, 1)));
}

TEST_F(SampleTest, SaysWhatNeedsATokenizer) {
  EXPECT_THAT(
      [&] { prepare_without_tokenizer(text_record("The", " hamster")); },
      ThrowsMessage<IoError>(HasSubstr(
          "a/model: has neither tokenizer.json nor tokenizer.model, which text needs; put")));
  EXPECT_THAT(
      [&] { prepare_without_tokenizer(id_record({5}, {6}), UnitKind::Sentence); },
      refuses("all units but tokens need a text"));
  DatasetRecord record = id_record({5}, {6});
  record.units = {{0, 1}};
  EXPECT_THAT(
      [&] { prepare_without_tokenizer(record, UnitKind::Given); },
      refuses("the prompt's 0 characters"));
}

TEST_F(SampleTest, MixesTextAndIds) {
  DatasetRecord text_then_ids = text_record("The capital of France is ", "");
  text_then_ids.target.reset();
  text_then_ids.target_ids = {302, 15};
  const Sample first = prepare(text_then_ids);
  // The prompt keeps its white space: there is no text to move it to. </s> is not added.
  EXPECT_THAT(ids_of(first.record), ElementsAre(0, 264, 280, 276, 301, 274, 222, 302, 15));
  EXPECT_THAT(first.record.text, Eq("The capital of France is  Paris."));
  EXPECT_THAT(first.prompt_length, Eq(7));

  DatasetRecord ids_then_text = id_record({0, 264, 279}, {});
  ids_then_text.target_ids.reset();
  ids_then_text.target = " eats.";
  const Sample second = prepare(ids_then_text);
  EXPECT_THAT(ids_of(second.record), ElementsAre(0, 264, 279, 336, 15));
  EXPECT_THAT(second.record.text, Eq("The hamster eats."));
  EXPECT_THAT(second.record.tokens[3].chars, Eq(CharRange{11, 16}));
  EXPECT_THAT(second.prompt_length, Eq(3));
}

TEST_F(SampleTest, RefusesEmptyPromptsAndTargets) {
  EXPECT_THAT([&] { prepare(text_record("", "Paris")); }, refuses("prompt must not be empty"));
  EXPECT_THAT([&] { prepare(text_record(" \n\u3000", "Paris")); }, refuses("prompt must not be"));
  EXPECT_THAT([&] { prepare(text_record("The", "")); }, refuses("target must not be empty"));
  EXPECT_THAT([&] { prepare(id_record({}, {5})); }, refuses("input_ids must not be empty"));
  EXPECT_THAT([&] { prepare(id_record({5}, {})); }, refuses("target_ids must not be empty"));
}

TEST_F(SampleTest, RefusesATargetThatMergesWithThePrompt) {
  EXPECT_THAT(
      [&] { prepare(text_record("The capital of Fra", "nce")); },
      refuses("merges with the prompt's last token"));
}

TEST_F(SampleTest, RefusesTokensThatTheModelDoesNotHave) {
  EXPECT_THAT(
      [&] {
        prepare_without_tokenizer(id_record({5, 349}, {6}));
      },
      refuses("one of the model's 349; use the tokenizer that belongs to it: 349"));
  EXPECT_THAT([&] { prepare(id_record({5}, {2147483647})); }, refuses("2147483647"));
  const SamplePreparer small(&tokenizer_, explain(UnitKind::Token), {.vocab_size = 302});
  EXPECT_THAT(
      [&] { small.prepare(text_record("The capital of France is", " Paris.")); },
      refuses("one of the model's 302; use the tokenizer that belongs to it: 302"));
}

TEST_F(SampleTest, FeedsExactlyAsManyTokensAsTheModelTakes) {
  const DatasetRecord record = id_record({5, 6, 7}, {8, 9});
  const auto prepare_within = [&](std::int64_t max_positions) {
    return SamplePreparer(
               nullptr,
               explain(UnitKind::Token),
               {.vocab_size = 349, .max_positions = max_positions})
        .prepare(record);
  };
  EXPECT_THAT(prepare_within(4).fed_length(), Eq(4));
  EXPECT_THAT([&] { prepare_within(3); }, refuses("at most 3 tokens"));
}

TEST_F(SampleTest, RefusesEvidenceOutsideTheText) {
  DatasetRecord record = text_record("The capital of France is", " Paris.");
  record.evidence = {{.chars = {25, 31}, .box = {}}, {.chars = {}, .box = {0, 0, 5, 5}}};
  EXPECT_THAT(prepare(record).record.evidence, Eq(record.evidence));
  record.evidence[0].chars.end = 32;
  EXPECT_THAT(
      [&] { prepare(record); }, refuses("within the 31 characters of prompt and target: [25, 32)"));
}

struct Question {
  std::string context;
  std::string question;
  std::string answer;
};

std::vector<Question> xquad() {
  std::vector<Question> questions;
  const json file = read_json_of(kSharedFolder / "data" / "xquad.en.json");
  for (const json& article : file["data"]) {
    for (const json& paragraph : article["paragraphs"]) {
      for (const json& question : paragraph["qas"]) {
        questions.push_back(
            {paragraph["context"], question["question"], question["answers"][0]["text"]});
      }
    }
  }
  return questions;
}

// Every token of the prompt is in exactly one unit, special tokens in none.
void expect_partition(const Sample& sample) {
  std::vector<int> num_units(sample.prompt_length);
  for (const UnitRecord& unit : sample.record.units) {
    for (const std::int32_t token : unit.tokens)
      ++num_units.at(token);
  }
  for (std::int64_t i = 0; i < sample.prompt_length; ++i) {
    const bool is_special = sample.record.tokens[i].chars == CharRange{};
    EXPECT_THAT(num_units[i], Eq(is_special ? 0 : 1)) << "token " << i;
  }
}

TEST(XquadSampleTest, PreparesEveryQuestionAndAnswer) {
  const std::filesystem::path folder = kSharedFolder / "tokenizers" / "llama-3";
  if (!std::filesystem::exists(folder) ||
      !std::filesystem::exists(kSharedFolder / "data" / "xquad.en.json")) {
    GTEST_SKIP() << "needs data and tokenizers of " << kSharedFolder;
  }
  const Tokenizer tokenizer = Tokenizer::load(folder);
  const SamplePreparer preparer(&tokenizer, {}, {.vocab_size = 128256, .max_positions = 8192});
  const std::vector<Question> questions = xquad();
  ASSERT_THAT(questions.size(), Eq(1190));
  for (const Question& question : questions) {
    SCOPED_TRACE(question.question);
    const std::string prompt =
        "Context: " + question.context + "\nQuestion: " + question.question + "\nAnswer:";
    const Sample sample = preparer.prepare(text_record(prompt, " " + question.answer));

    const std::vector<std::string> texts = unit_texts(sample.record);
    ASSERT_THAT(texts.size(), testing::Ge(3));
    EXPECT_THAT(texts.front(), StartsWith("Context: "));
    EXPECT_THAT(texts.back(), Eq("Answer:"));
    // Units hold all of the prompt but white space.
    std::string joined;
    for (const std::string& text : texts)
      joined += text;
    const auto is_space = [](char byte) { return byte == ' ' || byte == '\n'; };
    std::string rest = prompt;
    std::erase_if(joined, is_space);
    std::erase_if(rest, is_space);
    EXPECT_THAT(joined, Eq(rest));
    expect_partition(sample);

    const CharRange target = {
        sample.record.tokens[sample.prompt_length].chars.begin,
        sample.record.tokens.back().chars.end};
    EXPECT_THAT(slice(sample.record.text, target), Eq(" " + question.answer));
  }
}

}  // namespace
}  // namespace limn::test
