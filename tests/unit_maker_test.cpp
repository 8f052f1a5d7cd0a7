// Units as samples have them: made by a preparer, with a real tokenizer.

#include "coordinator/unit_maker.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "coordinator/code_points.h"
#include "coordinator/sample.h"
#include "storage/error.h"
#include "tests/test_folders.h"
#include "tests/unit_texts.h"

namespace limn::test {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::Eq;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using testing::StartsWith;
using testing::ThrowsMessage;

DatasetRecord text_record(std::string prompt, std::string target) {
  DatasetRecord record;
  record.where = "squad.jsonl:7";
  record.id = "7";
  record.prompt = std::move(prompt);
  record.target = std::move(target);
  return record;
}

DatasetRecord id_record(std::vector<std::int32_t> input_ids, std::vector<std::int32_t> target_ids) {
  DatasetRecord record;
  record.where = "squad.jsonl:7";
  record.id = "7";
  record.input_ids = std::move(input_ids);
  record.target_ids = std::move(target_ids);
  return record;
}

// The characters of `part` in `text`, both ASCII.
CharRange find(std::string_view text, std::string_view part) {
  const auto begin = static_cast<std::int32_t>(text.find(part));
  return {begin, begin + static_cast<std::int32_t>(part.size())};
}

auto refuses(const std::string& text) {
  return ThrowsMessage<DataError>(AllOf(StartsWith("squad.jsonl:7: "), HasSubstr(text)));
}

class UnitMakerTest : public testing::Test {
 protected:
  Sample prepare(const DatasetRecord& record, const ExplainOptions& options) const {
    return SamplePreparer(&tokenizer_, options, {.vocab_size = 349}).prepare(record);
  }

  static Sample prepare_without_tokenizer(
      const DatasetRecord& record, const ExplainOptions& options) {
    return SamplePreparer(nullptr, options, {.vocab_size = 349}).prepare(record);
  }

  const Tokenizer tokenizer_ = Tokenizer::load(test_data() / "sample_tokenizer");
};

}  // namespace

TEST_F(UnitMakerTest, CutsParagraphsLinesAndPieces) {
  const DatasetRecord record = text_record(
      "The hamster eats. It rained.\nThe capital is Paris.\n\nQuestion: What?\nAnswer:", " Paris");
  EXPECT_THAT(
      unit_texts(prepare(record, {.units = UnitKind::Paragraph}).record),
      ElementsAre(
          "The hamster eats. It rained.\nThe capital is Paris.", "Question: What?\nAnswer:"));
  EXPECT_THAT(
      unit_texts(prepare(record, {.units = UnitKind::Line}).record),
      ElementsAre(
          "The hamster eats. It rained.", "The capital is Paris.", "Question: What?", "Answer:"));
  EXPECT_THAT(
      unit_texts(prepare(record, {.units = UnitKind::Auto, .num_pieces = 3}).record),
      ElementsAre(
          "The hamster eats. It rained.", "The capital is Paris.", "Question: What?\nAnswer:"));
}

TEST_F(UnitMakerTest, CutsAtADelimiter) {
  const ExplainOptions at_bars = {.units = UnitKind::Delimiter, .delimiter = "||"};
  const Sample sample =
      prepare(text_record("The hamster || eats the carrots ||", " Paris"), at_bars);
  EXPECT_THAT(unit_texts(sample.record), ElementsAre("The hamster", "eats the carrots"));
  // The delimiter's own tokens are in no unit.
  std::int64_t num_tokens = 0;
  for (const UnitRecord& unit : sample.record.units)
    num_tokens += std::ssize(unit.tokens);
  EXPECT_LT(num_tokens, sample.prompt_length - 2);
  EXPECT_THAT(
      unit_texts(prepare(text_record("The hamster eats", " Paris"), at_bars).record),
      ElementsAre("The hamster eats"));
  const ExplainOptions at_numbers = {.units = UnitKind::Delimiter, .delimiter = "/\\[\\d+\\]/"};
  EXPECT_THAT(
      unit_texts(prepare(text_record("[1] It rained. [22] She ate.", " Paris"), at_numbers).record),
      ElementsAre("It rained.", "She ate."));
}

TEST_F(UnitMakerTest, NamesTheRecordWhoseTextIsTooHardForTheDelimiter) {
  const ExplainOptions options = {.units = UnitKind::Delimiter, .delimiter = "/(x+x+)+[yz]/"};
  EXPECT_THAT(
      [&] { prepare(text_record(std::string(60, 'x'), " Paris"), options); },
      refuses("too hard for the regular expression"));
}

TEST_F(UnitMakerTest, TokensThatTheFileMarksAsSpecialAreNoUnits) {
  // "</s>" is one special token here, though the prompt spells it.
  const DatasetRecord record = text_record("The hamster</s>\neats the carrots", "</s> Paris.");
  const Sample by_token = prepare(record, {.units = UnitKind::Token});
  ASSERT_TRUE(tokenizer_.is_special(by_token.record.tokens[3].id));
  EXPECT_FALSE(tokenizer_.is_special(by_token.record.tokens[2].id));
  EXPECT_THAT(
      unit_texts(by_token.record),
      ElementsAre("The", " hamster", "\n", "eat", "s", " the", " carrots"));
  // It ends words, sentences and all else.
  EXPECT_THAT(
      unit_texts(prepare(record, {.units = UnitKind::Word}).record),
      ElementsAre("The", "hamster", "eats", "the", "carrots"));
  const DatasetRecord on_one_line = text_record("The hamster</s> eats the carrots", " Paris.");
  EXPECT_THAT(
      unit_texts(prepare(on_one_line, {.units = UnitKind::Sentence}).record),
      ElementsAre("The hamster", "eats the carrots"));
  EXPECT_THAT(
      unit_texts(prepare(on_one_line, {.units = UnitKind::Paragraph}).record),
      ElementsAre("The hamster", "eats the carrots"));
}

TEST_F(UnitMakerTest, SpecialTokensAreInNoGivenRangeButMayBeGivenByPosition) {
  DatasetRecord record = text_record("The hamster</s> eats", " Paris");
  record.units = {{0, 20}};
  const Sample sample = prepare(record, {.units = UnitKind::Given});
  EXPECT_THAT(unit_tokens(sample.record), ElementsAre(ElementsAre(1, 2, 4)));
  record.units = {{11, 15}};
  EXPECT_THAT([&] { prepare(record, {.units = UnitKind::Given}); }, refuses("covers no token"));
  record.units.reset();
  record.unit_tokens = {{3}, {0, 1}};
  EXPECT_THAT(
      unit_tokens(prepare(record, {.units = UnitKind::Given}).record),
      ElementsAre(ElementsAre(3), ElementsAre(0, 1)));
}

TEST_F(UnitMakerTest, CutsOnlyTheContextWhereThatIsAskedFor) {
  const std::string prompt =
      "Read this: It rained. The hamster eats.\nQuestion: What is it?\nAnswer:";
  DatasetRecord record = text_record(prompt, " Paris");
  record.context = {find(prompt, "It rained. The hamster eats.")};
  const auto over_context = [](UnitKind kind) {
    return ExplainOptions{.units = kind, .num_pieces = 2, .units_over = UnitsOver::Context};
  };
  EXPECT_THAT(
      unit_texts(prepare(record, over_context(UnitKind::Sentence)).record),
      ElementsAre("It rained.", "The hamster eats."));
  EXPECT_THAT(
      unit_texts(prepare(record, over_context(UnitKind::Word)).record),
      ElementsAre("It", "rained", ".", "The", "hamster", "eats", "."));
  EXPECT_THAT(
      unit_texts(prepare(record, over_context(UnitKind::Paragraph)).record),
      ElementsAre("It rained. The hamster eats."));
  EXPECT_THAT(
      unit_texts(prepare(record, over_context(UnitKind::Auto)).record),
      ElementsAre("It rained.", "The hamster eats."));
  // Tokens that begin in it, white space aside.
  std::string tokens;
  for (const std::string& text : unit_texts(prepare(record, over_context(UnitKind::Token)).record))
    tokens += text;
  EXPECT_THAT(tokens, Eq(" It rained. The hamster eats."));
  // Without the option the record's context changes nothing.
  EXPECT_THAT(
      unit_texts(prepare(record, {.units = UnitKind::Line}).record),
      ElementsAre("Read this: It rained. The hamster eats.", "Question: What is it?", "Answer:"));
}

TEST_F(UnitMakerTest, CutsEachOfSeveralPassages) {
  const std::string prompt = "A: It rained. The hamster\nB: eats. She ate.\nAnswer:";
  DatasetRecord record = text_record(prompt, " Paris");
  // Not in order, and two that overlap are one.
  record.context = {
      find(prompt, "eats. She ate."), find(prompt, "It rained. The"), find(prompt, "The hamster")};
  ExplainOptions options = {.units_over = UnitsOver::Context};
  EXPECT_THAT(
      unit_texts(prepare(record, options).record),
      ElementsAre("It rained.", "The hamster", "eats.", "She ate."));
  // Each gets its share of the pieces, and at least one.
  options.units = UnitKind::Auto;
  options.num_pieces = 3;
  EXPECT_THAT(
      unit_texts(prepare(record, options).record),
      ElementsAre("It rained.", "The hamster", "eats. She ate."));
  options.num_pieces = 1;
  EXPECT_THAT(
      unit_texts(prepare(record, options).record),
      ElementsAre("It rained. The hamster", "eats. She ate."));
}

TEST_F(UnitMakerTest, RefusesWhatIsNoContext) {
  const ExplainOptions options = {.units_over = UnitsOver::Context};
  DatasetRecord record = text_record("The hamster eats", " Paris");
  EXPECT_THAT([&] { prepare(record, options); }, refuses("but the record has no context"));
  for (const CharRange range : {CharRange{4, 4}, CharRange{4, 17}}) {
    record.context = {{0, 3}, range};
    EXPECT_THAT(
        [&] { prepare(record, options); },
        refuses(fmt::format(
            "context must be ranges of one or more of the prompt's 16 characters: [{}, {})",
            range.begin,
            range.end)));
  }
  record.context = {{3, 4}};
  EXPECT_THAT([&] { prepare(record, options); }, refuses("the prompt has no unit"));
  DatasetRecord ids = id_record({5, 6}, {7});
  ids.context = {{0, 1}};
  EXPECT_THAT(
      [&] {
        prepare_without_tokenizer(
            ids, {.units = UnitKind::Token, .units_over = UnitsOver::Context});
      },
      refuses("a context is a part of a text"));
}

TEST_F(UnitMakerTest, RefusesUnitsBeforeTheModelGivesTheTarget) {
  DatasetRecord record = text_record("The hamster eats", "");
  record.target.reset();
  const auto prepare_prompt = [&](const ExplainOptions& options) {
    return SamplePreparer(&tokenizer_, options, {.vocab_size = 349}).prepare_prompt(record);
  };
  EXPECT_THAT(prepare_prompt({}).record.units, IsEmpty());
  EXPECT_THAT(
      [&] { prepare_prompt({.units_over = UnitsOver::Context}); },
      refuses("but the record has no context"));
  EXPECT_THAT(
      [&] { prepare_prompt({.units = UnitKind::Given}); }, refuses("the record has no units"));
  EXPECT_THAT(
      [&] { prepare_prompt({.units = UnitKind::Delimiter, .delimiter = "/.+/"}); },
      refuses("the prompt has no unit"));
  // A position may be the answer's.
  record.unit_tokens = {{1, 50}};
  EXPECT_THAT(prepare_prompt({.units = UnitKind::Given}).prompt_length, Eq(4));
}

TEST_F(UnitMakerTest, MakesUnitsOfTheTargetsTokensBehindThePrompts) {
  const DatasetRecord record = text_record("The capital of France is", " Paris. It rained.");
  const Sample sample = prepare(record, {.units = UnitKind::Sentence, .include_target = true});
  ASSERT_THAT(sample.record.units, SizeIs(1 + sample.record.targets.size()));
  EXPECT_THAT(sample.record.units[0].tokens, ElementsAre(1, 2, 3, 4, 5));
  for (std::size_t i = 0; i < sample.record.targets.size(); ++i) {
    const UnitRecord& unit = sample.record.units[1 + i];
    EXPECT_THAT(unit.tokens, ElementsAre(sample.record.targets[i].position));
    EXPECT_EQ(unit.chars, sample.record.tokens[sample.record.targets[i].position].chars);
  }
  EXPECT_THAT(unit_texts(sample.record)[1], Eq(" Paris"));
}

TEST_F(UnitMakerTest, LeavesSpecialTokensOfTheTargetOut) {
  const DatasetRecord record = text_record("The capital", "</s> of France");
  const Sample sample = prepare(record, {.units = UnitKind::Word, .include_target = true});
  EXPECT_THAT(sample.record.targets, SizeIs(3));
  EXPECT_THAT(unit_texts(sample.record), ElementsAre("The", "capital", " of", " France"));
  // Nothing tells them from others without a tokenizer.
  EXPECT_THAT(
      unit_tokens(prepare_without_tokenizer(
                      id_record({5, 6}, {7, 8}), {.units = UnitKind::Token, .include_target = true})
                      .record),
      ElementsAre(ElementsAre(0), ElementsAre(1), ElementsAre(2), ElementsAre(3)));
}

TEST_F(UnitMakerTest, CountsWordsWhoseTokenBeginsBeforeThem) {
  // ")." is one token: the full stop is nothing to tell of.
  const ExplainOptions by_word = {.units = UnitKind::Word};
  EXPECT_EQ(
      prepare(text_record("She ate (the carrots). He", " ate"), by_word).num_without_token, 0);
  // What lies within a token is.
  const DatasetRecord record = text_record("The hamster eats", " Paris");
  const ExplainOptions at_ms = {.units = UnitKind::Delimiter, .delimiter = "m"};
  EXPECT_THAT(unit_texts(prepare(record, at_ms).record), ElementsAre("The ha", "ster eats"));
  const ExplainOptions at_letters = {.units = UnitKind::Delimiter, .delimiter = "/[mt]/"};
  const Sample cut_within = prepare(record, at_letters);
  EXPECT_THAT(unit_texts(cut_within.record), ElementsAre("The ha", "er ea"));
  EXPECT_EQ(cut_within.num_without_token, 2);
}

TEST_F(UnitMakerTest, SaysWhatNeedsAText) {
  for (const UnitKind kind :
       {UnitKind::Word, UnitKind::Sentence, UnitKind::Paragraph, UnitKind::Line, UnitKind::Auto}) {
    EXPECT_THAT(
        [&] { prepare_without_tokenizer(id_record({5}, {6}), {.units = kind}); },
        refuses("all units but tokens need a text"));
  }
}

}  // namespace limn::test
