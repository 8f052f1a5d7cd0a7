#include "launch/show_command.h"

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "launch/relevance_colors.h"
#include "launch/sample_page.h"
#include "launch/visible_text.h"
#include "storage/error.h"
#include "storage/relevance_file.h"
#include "tests/snapshot.h"

namespace limn::test {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr Terminal kFile = {};
constexpr Terminal kTrueColorTerminal = {
    .is_terminal = true, .depth = ColorDepth::TrueColor, .wants_colors = true, .columns = 80};
constexpr Terminal kTerminal = {
    .is_terminal = true, .depth = ColorDepth::Palette256, .wants_colors = true, .columns = 60};

std::filesystem::path test_folder(std::string_view name) {
  const std::filesystem::path folder =
      std::filesystem::path(testing::TempDir()) / "limn_show_command_test" / name;
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  return folder;
}

void write_file(const std::filesystem::path& path, const std::vector<SampleRecord>& samples) {
  RelevanceWriter writer(path, {.complete = true});
  for (const SampleRecord& sample : samples)
    writer.append(sample);
  writer.close();
}

// What a part of a prompt is worth.
struct Piece {
  std::string text;
  float relevance = 0;
};

std::int32_t num_characters(std::string_view text) {
  return static_cast<std::int32_t>(visible_characters(text).size());
}

// A sample whose prompt is made of the pieces, each of them a token and a unit, and whose target
// are two tokens that share every unit's relevance.
SampleRecord sample_of(std::string id, const std::vector<Piece>& pieces) {
  SampleRecord sample{.id = std::move(id)};
  std::int32_t begin = 0;
  const auto append_token = [&](const std::string& text) {
    sample.text += text;
    const std::int32_t end = begin + num_characters(text);
    sample.tokens.push_back({.id = 100 + begin, .chars = {begin, end}});
    begin = end;
  };
  for (const Piece& piece : pieces) {
    append_token(piece.text);
    const auto position = static_cast<std::int32_t>(sample.units.size());
    sample.units.push_back({.chars = sample.tokens.back().chars, .tokens = {position}});
    sample.delta.push_back(0.75F * piece.relevance);
    sample.delta.push_back(0.25F * piece.relevance);
  }
  for (const char* target : {" Fr", "ance"}) {
    sample.targets.push_back(
        {.position = static_cast<std::int32_t>(sample.tokens.size()),
         .token = 7,
         .log_prob = -0.5F});
    append_token(target);
  }
  return sample;
}

SampleRecord normandy() {
  return sample_of(
      "5733be284776f41900661182",
      {{"The Normans were the people who in the 10th and 11th centuries gave their name to "
        "Normandy, a region in France.",
        3.25F},
       {" They were descended from Norse raiders and pirates from Denmark, Iceland and Norway.",
        -1.5F},
       {"\n\nIn what country is Normandy located?", 0.8F},
       {"\nAnswer:", 0.00004F}});
}

SampleRecord without_text(SampleRecord sample) {
  sample.text.clear();
  for (TokenRecord& token : sample.tokens)
    token.chars = {};
  for (UnitRecord& unit : sample.units)
    unit.chars = {};
  return sample;
}

SampleRecord failed(std::string id) {
  return {
      .id = std::move(id),
      .status = SampleStatus::Failed,
      .message = "squad.jsonl:7: longer than the model allows: 4096 of 2048"};
}

std::string shown(const ShowOptions& options, const Terminal& terminal) {
  std::ostringstream out;
  show(options, terminal, out);
  return out.str();
}

std::string shown_sample(
    const SampleRecord& sample, const Terminal& terminal, std::int64_t columns = 80) {
  const std::filesystem::path path = test_folder("one") / "relevance.h5";
  write_file(path, {sample});
  return shown({.path = path, .columns = columns}, terminal);
}

template <typename Failure>
std::string refusal(const ShowOptions& options) {
  try {
    shown(options, kFile);
  } catch (const Failure& failure) {
    return failure.what();
  }
  return "not refused";
}

// `text` without its escape sequences for colours, ESC [ numbers m.
std::string without_colors(std::string_view text) {
  std::string plain;
  while (!text.empty()) {
    const std::size_t begin = text.find("\x1b[");
    plain += text.substr(0, begin);
    if (begin == std::string_view::npos) break;
    const std::size_t end = text.find_first_not_of("0123456789;", begin + 2);
    if (end == std::string_view::npos || text[end] != 'm') return "no colour: " + std::string(text);
    text.remove_prefix(end + 1);
  }
  return plain;
}

// The escapes of all characters of `text` that a terminal obeys.
std::vector<std::string> steering_characters(const std::string& text) {
  std::vector<std::string> escapes;
  for (const VisibleCharacter& character : visible_characters(text)) {
    if (character.text.size() > 1 && character.text.front() == '\\') {
      escapes.push_back(character.text);
    }
  }
  return escapes;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);)
    lines.push_back(line);
  return lines;
}

TEST(ShowCommandTest, ReadsAsItDid) {
  const std::filesystem::path path = test_folder("all") / "relevance.h5";
  write_file(
      path,
      {normandy(),
       sample_of(
           "\u65e5\u672c",
           {{"\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8\u306f\u4e00\u6587\u5b57\u304c",
             1.0F},
            {"\u4e8c\u6841\u3067\u3059\u3002\u6b63\u3057\u304f\u6570\u3048\u307e\u3059\u3002",
             -1.0F},
            {"caf\u00e9, cafe\u0301", 0.5F}}),
       failed("too-long"),
       without_text(normandy())});
  expect_snapshot("show_table_100.txt", shown({.path = path, .columns = 100}, kFile));
  expect_snapshot("show_table_60.txt", shown({.path = path, .columns = 60}, kFile));
  expect_snapshot("show_true_color_80.txt", shown({.path = path}, kTrueColorTerminal));
  expect_snapshot("show_256_colors_60.txt", shown({.path = path}, kTerminal));
}

TEST(ShowCommandTest, KeepsToTheColumns) {
  const SampleRecord sample = normandy();
  for (const std::int64_t columns : {40, 60, 79, 80, 100, 150}) {
    for (const Terminal& terminal : {kFile, kTerminal, kTrueColorTerminal}) {
      for (const std::string& line : lines_of(shown_sample(sample, terminal, columns)))
        EXPECT_LE(display_columns(without_colors(line)), columns) << line;
    }
  }
}

TEST(ShowCommandTest, NeverLetsATextSteerTheTerminal) {
  const SampleRecord sample = sample_of(
      "evil\x1b]0;id\x07", {{"a\x1b[2Jb", 1}, {"\u202e\u009b31m\r\x08", -1}, {"\tc\x7f", 2}});
  for (const Terminal& terminal : {kFile, kTerminal, kTrueColorTerminal}) {
    const std::string text = without_colors(shown_sample(sample, terminal));
    EXPECT_THAT(steering_characters(text), Each("\\n"));
    EXPECT_THAT(text, HasSubstr("a\\x1b[2Jb\\u202e\\x9b31m\\r\\x08    c\\x7f"));
    EXPECT_THAT(text, HasSubstr("evil\\x1b]0;id\\x07"));
  }
}

TEST(ShowCommandTest, NeverLetsAMessageSteerTheTerminal) {
  SampleRecord sample = failed("x");
  sample.message = "\x1b[2J";
  EXPECT_THAT(shown_sample(sample, kTerminal), HasSubstr("failed: \\x1b[2J"));
}

TEST(ShowCommandTest, ChoosesTheFormByTerminalAndFlag) {
  const std::filesystem::path path = test_folder("form") / "relevance.h5";
  write_file(path, {normandy()});
  const auto has_colors = [&](ColorChoice choice, const Terminal& terminal) {
    return shown({.path = path, .color = choice}, terminal).find('\x1b') != std::string::npos;
  };
  EXPECT_TRUE(has_colors(ColorChoice::Auto, kTerminal));
  EXPECT_FALSE(has_colors(ColorChoice::Auto, kFile));
  EXPECT_TRUE(has_colors(ColorChoice::Always, kFile));
  EXPECT_FALSE(has_colors(ColorChoice::Never, kTerminal));
}

TEST(ShowCommandTest, ShowsTheSamplesThatWereNamedInTheirOrder) {
  const std::filesystem::path path = test_folder("named") / "relevance.h5";
  write_file(path, {failed("a"), failed("b"), failed("c")});
  const std::string text = shown({.path = path, .sample_ids = {"c", "a"}}, kFile);
  EXPECT_THAT(lines_of(text), ElementsAre(HasSubstr("c  failed: "), "", HasSubstr("a  failed: ")));
}

TEST(ShowCommandTest, ShowsAllAlternativesOfARecord) {
  const std::filesystem::path path = test_folder("alternatives") / "relevance.h5";
  write_file(path, {failed("a#0"), failed("ab#0"), failed("a#1"), failed("a#x"), failed("b")});
  EXPECT_THAT(
      lines_of(shown({.path = path, .sample_ids = {"a"}}, kFile)),
      ElementsAre(HasSubstr("a#0  failed: "), "", HasSubstr("a#1  failed: ")));
  EXPECT_THAT(
      lines_of(shown({.path = path, .sample_ids = {"a#1"}}, kFile)),
      ElementsAre(HasSubstr("a#1  failed: ")));
}

TEST(ShowCommandTest, BracketsUnitsOfTheTarget) {
  SampleRecord sample = sample_of("x", {{"ab", 1}});
  // " Fr" is a unit for "ance".
  sample.units.push_back({.chars = sample.tokens[1].chars, .box = {}, .tokens = {1}});
  sample.delta.insert(sample.delta.end(), {0, 0.5F});
  const SamplePage page = page_of(sample);
  EXPECT_FALSE(page.units[0].is_target);
  EXPECT_TRUE(page.units[1].is_target);
  EXPECT_TRUE(page.marks[3].is_target);
  EXPECT_EQ(page.marks[3].relevance, 0.5);
  for (const std::int64_t columns : {40, 100}) {
    const std::string text = shown_sample(sample, kFile, columns);
    EXPECT_THAT(text, HasSubstr("  \"ab\"\n"));
    EXPECT_THAT(text, HasSubstr("  [[\" Fr\"]]\n"));
  }
}

TEST(ShowCommandTest, NamesTheIdThatWasMeant) {
  const std::filesystem::path path = test_folder("ids") / "relevance.h5";
  write_file(path, {failed("squad-17"), failed("squad-29")});
  EXPECT_EQ(
      refusal<UsageError>({.path = path, .sample_ids = {"sqad-29", "squad-17", "zebra"}}),
      path.string() + ": no sample of this id, did you mean squad-29: sqad-29\n" + path.string() +
          ": no sample of this id: zebra");
}

TEST(ShowCommandTest, OpensTheResultOfARunDirectory) {
  const std::filesystem::path run = test_folder("run");
  write_file(run / "relevance.h5", {failed("a")});
  EXPECT_EQ(shown({.path = run}, kFile), shown({.path = run / "relevance.h5"}, kFile));
}

TEST(ShowCommandTest, SaysThatARunIsNotComplete) {
  const std::filesystem::path run = test_folder("unfinished");
  std::filesystem::create_directories(run / "parts");
  EXPECT_EQ(
      refusal<DataError>({.path = run}),
      run.string() + ": neither a run directory nor a relevance file");
  write_file(run / "parts" / "part-000000.h5", {failed("a")});
  EXPECT_EQ(
      refusal<DataError>({.path = run}),
      run.string() + ": not complete yet; run the same job again to finish it");
}

TEST(ShowCommandTest, RefusesWhatIsNoRelevanceFile) {
  const std::filesystem::path folder = test_folder("none");
  std::ofstream(folder / "notes.txt") << "text";
  EXPECT_THROW(shown({.path = folder / "notes.txt"}, kFile), DataError);
  EXPECT_THROW(shown({.path = folder / "absent.h5"}, kFile), IoError);
}

TEST(SamplePageTest, SumsRelevanceOverTheTargets) {
  const SamplePage page = page_of(normandy());
  ASSERT_EQ(page.units.size(), 4U);
  EXPECT_FLOAT_EQ(page.units[0].relevance, 3.25);
  EXPECT_FLOAT_EQ(page.units[1].relevance, -1.5);
  EXPECT_FLOAT_EQ(page.strongest_relevance, 3.25);
  EXPECT_FLOAT_EQ(page.target_log_prob, -1);
}

TEST(SamplePageTest, MarksTheTargetsCharacters) {
  const SamplePage page = page_of(sample_of("x", {{"ab", 1}}));
  std::string target;
  for (std::size_t i = 0; i < page.text.size(); ++i)
    if (page.marks[i].is_target) target += page.text[i].text;
  EXPECT_EQ(target, " France");
}

TEST(SamplePageTest, GivesACharacterOfSeveralUnitsTheStrongestRelevance) {
  SampleRecord sample = sample_of("x", {{"ab", 1}, {"cd", 0.5F}});
  sample.units[1].chars = {1, 4};
  sample.delta[2] = -3;
  sample.delta[3] = 0;
  const SamplePage page = page_of(sample);
  EXPECT_EQ(page.marks[0].relevance, 1);
  EXPECT_EQ(page.marks[1].relevance, -3);
  EXPECT_EQ(page.marks[3].relevance, -3);
}

TEST(SamplePageTest, FindsTheCharactersOfUnitsThatAreTokens) {
  SampleRecord sample = sample_of("x", {{"ab ", 1}, {"cd ", 2}, {"ef ", 0}, {"gh", 0}});
  for (UnitRecord& unit : sample.units)
    unit.chars = {};
  sample.units[0].tokens = {0, 2, 3};
  const SamplePage page = page_of(sample);
  EXPECT_EQ(page.units[0].text, "\"ab  ... ef gh\"");
  EXPECT_EQ(page.marks[0].relevance, 1);
  EXPECT_EQ(page.marks[3].relevance, 2);
  EXPECT_EQ(page.marks[6].relevance, 1);
}

TEST(SamplePageTest, ShowsPositionsWhereThereIsNoText) {
  SampleRecord sample = without_text(sample_of("x", {{"a", 1}, {"b", 0}, {"c", 0}, {"d", 0}}));
  sample.units[1].tokens = {0, 2, 3};
  sample.units[2].tokens = {1, 2};
  sample.units[3].tokens = {};
  const SamplePage page = page_of(sample);
  EXPECT_EQ(text_of_line(page.text, {0, 11}), "0:100 1:101");
  EXPECT_EQ(page.units[0].text, "token 0");
  EXPECT_EQ(page.units[1].text, "tokens 0, 2-3");
  EXPECT_EQ(page.units[2].text, "tokens 1-2");
  EXPECT_EQ(page.units[3].text, "no tokens");
  EXPECT_EQ(page.marks[0].relevance, 1);
}

TEST(SamplePageTest, TakesNoMeasurementForNoRelevance) {
  SampleRecord sample = sample_of("x", {{"ab", 1}, {"cd", 2}});
  sample.delta[0] = std::numeric_limits<float>::quiet_NaN();
  const SamplePage page = page_of(sample);
  EXPECT_TRUE(std::isnan(page.units[0].relevance));
  EXPECT_EQ(page.strongest_relevance, 2);
  EXPECT_THAT(shown_sample(sample, kFile), HasSubstr("  not measured  "));
}

TEST(SamplePageTest, RefusesWhatLiesOutsideTheText) {
  const SampleRecord good = sample_of("x", {{"ab", 1}});
  SampleRecord unit = good;
  unit.units[0].chars = {0, 100};
  EXPECT_THROW(page_of(unit), DataError);
  SampleRecord token = good;
  token.tokens[0].chars = {1, 0};
  EXPECT_THROW(page_of(token), DataError);
  SampleRecord position = good;
  position.units[0].tokens = {3};
  EXPECT_THROW(page_of(position), DataError);
  SampleRecord target = good;
  target.targets[0].position = -1;
  EXPECT_THROW(page_of(target), DataError);
  SampleRecord delta = good;
  delta.delta.pop_back();
  EXPECT_THROW(page_of(delta), DataError);
}

TEST(RelevanceColorsTest, ShadeFromPaperToTheStrongest) {
  EXPECT_EQ(shade_of(0, 2), 0);
  EXPECT_EQ(shade_of(2, 2), kStrongestShade);
  EXPECT_EQ(shade_of(-2, 2), -kStrongestShade);
  EXPECT_EQ(shade_of(1, 2), kStrongestShade / 2);
  EXPECT_EQ(shade_of(0, 0), 0);
  EXPECT_EQ(shade_of(std::nan(""), 2), 0);
  EXPECT_EQ(shade_of(std::numeric_limits<double>::infinity(), 2), kStrongestShade);
}

TEST(RelevanceColorsTest, AreOrangeForTheTargetAndBlueAgainstIt) {
  EXPECT_THAT(text_on_shade(kStrongestShade, ColorDepth::TrueColor), HasSubstr("48;2;232;104;10m"));
  EXPECT_THAT(
      text_on_shade(-kStrongestShade, ColorDepth::TrueColor), HasSubstr("48;2;62;142;196m"));
  EXPECT_THAT(text_on_shade(kStrongestShade, ColorDepth::Palette256), HasSubstr("48;5;208m"));
  EXPECT_THAT(text_on_shade(-kStrongestShade, ColorDepth::Palette256), HasSubstr("48;5;74m"));
}

}  // namespace
}  // namespace limn::test
