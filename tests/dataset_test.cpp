#include "coordinator/dataset.h"

#include <fstream>
#include <vector>

#include <gmock/gmock.h>

#include "storage/error.h"

namespace limn::test {
namespace {

using testing::ElementsAre;
using testing::Eq;
using testing::HasSubstr;
using testing::Optional;
using testing::StartsWith;
using testing::ThrowsMessage;

class DatasetTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::path(testing::TempDir()) / "limn_dataset_test" / test->name();
    std::filesystem::create_directories(folder_);
  }

  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path write(std::string_view bytes) {
    const std::filesystem::path path = folder_ / "prompts.jsonl";
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }

  std::vector<DatasetRecord> read_all(std::string_view bytes, std::int64_t limit = 0) {
    DatasetReader reader({.path = write(bytes), .limit = limit});
    std::vector<DatasetRecord> records;
    while (auto record = reader.next())
      records.push_back(*std::move(record));
    return records;
  }

  DatasetRecord read_one(std::string_view line) {
    DatasetReader reader({.path = write(line)});
    return reader.next().value();
  }

  // A record with `keys` beside a prompt and a target.
  DatasetRecord read_with(std::string_view keys) {
    return read_one(fmt::format(R"({{"prompt": "Hello", "target": "you", {}}})", keys));
  }

  std::filesystem::path folder_;
};

// Matches the DataError of a call, its message starting with the first line's place.
auto refuses_line_1(const std::string& text) {
  return ThrowsMessage<DataError>(AllOf(StartsWith("prompts.jsonl:1: "), HasSubstr(text)));
}

TEST_F(DatasetTest, ReadsTextAndIds) {
  const auto records =
      read_all(R"({"id": "paris", "prompt": "The capital of France is", "target": " Paris."})"
               "\n"
               R"({"id": "raw", "input_ids": [1, 2, 3], "target_ids": [2147483647]})"
               "\n");
  ASSERT_THAT(records.size(), Eq(2));
  EXPECT_THAT(records[0].id, Eq("paris"));
  EXPECT_THAT(records[0].prompt, Optional(Eq("The capital of France is")));
  EXPECT_THAT(records[0].target, Optional(Eq(" Paris.")));
  EXPECT_FALSE(records[0].input_ids || records[0].target_ids);
  EXPECT_FALSE(records[0].units || records[0].unit_tokens);
  EXPECT_THAT(records[0].evidence, ElementsAre());
  EXPECT_THAT(records[1].input_ids, Optional(ElementsAre(1, 2, 3)));
  EXPECT_THAT(records[1].target_ids, Optional(ElementsAre(2147483647)));
  EXPECT_FALSE(records[1].prompt || records[1].target);
}

TEST_F(DatasetTest, ReadsUnitsAndEvidence) {
  const DatasetRecord ranges =
      read_with(R"("units": [[0, 2], [1, 4]], "evidence": [[3, 3], [0, 8]])");
  EXPECT_THAT(ranges.units, Optional(ElementsAre(CharRange{0, 2}, CharRange{1, 4})));
  EXPECT_THAT(
      ranges.evidence,
      ElementsAre(
          EvidenceRecord{.chars = {3, 3}, .box = {}}, EvidenceRecord{.chars = {0, 8}, .box = {}}));
  const DatasetRecord positions =
      read_with(R"("unit_tokens": [[0], [2, 1], []], "evidence_box": [1, 2, 30, 40])");
  EXPECT_THAT(
      positions.unit_tokens,
      Optional(ElementsAre(ElementsAre(0), ElementsAre(2, 1), ElementsAre())));
  EXPECT_THAT(positions.evidence, ElementsAre(EvidenceRecord{.chars = {}, .box = {1, 2, 30, 40}}));
}

TEST_F(DatasetTest, ReadsOnePassageOrSeveralOfAContext) {
  EXPECT_THAT(read_with(R"("context": [0, 4])").context, ElementsAre(CharRange{0, 4}));
  EXPECT_THAT(
      read_with(R"("context": [[0, 2], [3, 5]])").context,
      ElementsAre(CharRange{0, 2}, CharRange{3, 5}));
  EXPECT_THAT(read_with(R"("context": [])").context, ElementsAre());
  EXPECT_THAT(
      [&] { read_with(R"("context": "all")"); },
      refuses_line_1("context must be [start, end) in characters, or a list of such: \"all\""));
  EXPECT_THAT(
      [&] { read_with(R"("context": [4, 0])"); }, refuses_line_1("context must be [start, end)"));
  EXPECT_THAT(
      [&] { read_with(R"("context": [[0, 1], 3])"); }, refuses_line_1("context[1] must be"));
}

TEST_F(DatasetTest, ReadsAlternativeTargets) {
  const DatasetRecord texts = read_one(R"({"prompt": "a", "targets": ["b", "", "b"]})");
  EXPECT_THAT(texts.targets, Optional(ElementsAre("b", "", "b")));
  EXPECT_FALSE(texts.target || texts.target_ids || texts.targets_ids);
  const DatasetRecord ids = read_one(R"({"prompt": "a", "targets_ids": [[1, 2], [3]]})");
  EXPECT_THAT(ids.targets_ids, Optional(ElementsAre(ElementsAre(1, 2), ElementsAre(3))));
  EXPECT_THAT(
      [&] { read_one(R"({"prompt": "a", "targets": []})"); },
      refuses_line_1("targets must be a list of at least one string: []"));
  EXPECT_THAT(
      [&] { read_one(R"({"prompt": "a", "targets": "b"})"); },
      refuses_line_1("targets must be a list of at least one string: \"b\""));
  EXPECT_THAT(
      [&] { read_one(R"({"prompt": "a", "targets_ids": [[1], 2]})"); },
      refuses_line_1("targets_ids[1] must be a list of token ids: 2"));
  for (const char* other : {"target", "targets_ids"}) {
    EXPECT_THAT(
        [&] { read_one(fmt::format(R"({{"prompt": "a", "targets": ["b"], "{}": 1}})", other)); },
        refuses_line_1("contradict each other; leave one of them out"));
  }
}

TEST_F(DatasetTest, DecodesEscapesAndKeepsEveryCharacter) {
  const DatasetRecord record = read_one(
      "{\"prompt\": \"\\u4ed6 \\ud83d\\ude00 \xC3\xA9\\n\", \"target\": \"\xE4\xBB\x96\"}");
  EXPECT_THAT(record.prompt, Optional(Eq("\xE4\xBB\x96 \xF0\x9F\x98\x80 \xC3\xA9\n")));
  EXPECT_THAT(record.target, Optional(Eq("\xE4\xBB\x96")));
}

TEST_F(DatasetTest, CountsEmptyLinesButPassesOverThem) {
  const auto records = read_all(
      "\n"
      R"({"prompt": "a", "target": "b"})"
      "\n\n  \t\n"
      R"({"prompt": "c", "target": "d"})"
      "\n\n");
  ASSERT_THAT(records.size(), Eq(2));
  EXPECT_THAT(records[0].index, Eq(0));
  EXPECT_THAT(records[0].id, Eq("2"));
  EXPECT_THAT(records[0].where, Eq("prompts.jsonl:2"));
  EXPECT_THAT(records[1].index, Eq(1));
  EXPECT_THAT(records[1].id, Eq("5"));
  EXPECT_THAT(records[1].where, Eq("prompts.jsonl:5"));
}

TEST_F(DatasetTest, AcceptsWhatWindowsWrites) {
  const auto records = read_all(
      "\xEF\xBB\xBF"
      R"({"prompt": "a", "target": "b"})"
      "\r\n\r\n"
      R"({"prompt": "c", "target": "d"})"
      "\r\n");
  ASSERT_THAT(records.size(), Eq(2));
  EXPECT_THAT(records[1].prompt, Optional(Eq("c")));
}

TEST_F(DatasetTest, ReadsALastLineWithoutItsEnd) {
  EXPECT_THAT(read_all(R"({"prompt": "a", "target": "b"})").size(), Eq(1));
  EXPECT_THAT(read_all("").size(), Eq(0));
  EXPECT_THAT(read_all("\n\n").size(), Eq(0));
}

TEST_F(DatasetTest, StopsAtTheLimit) {
  const std::string line = "{\"prompt\": \"a\", \"target\": \"b\"}\n";
  EXPECT_THAT(read_all(line + line + line, 2).size(), Eq(2));
  EXPECT_THAT(read_all(line + line + line, 5).size(), Eq(3));
  EXPECT_THAT(read_all(line + line + "not JSON\n", 2).size(), Eq(2));
}

TEST_F(DatasetTest, TakesAnIntegerIdAsText) {
  EXPECT_THAT(read_with(R"("id": 42)").id, Eq("42"));
  EXPECT_THAT(read_with(R"("id": -1)").id, Eq("-1"));
  EXPECT_THAT(read_with(R"("id": 18446744073709551615)").id, Eq("18446744073709551615"));
}

TEST_F(DatasetTest, RefusesIdsThatCannotBeStored) {
  EXPECT_THAT(
      [&] { read_with(R"("id": 1.5)"); }, refuses_line_1("id must be a string or an integer: 1.5"));
  EXPECT_THAT(
      [&] { read_with(R"("id": null)"); },
      refuses_line_1("id must be a string or an integer: null"));
  EXPECT_THAT([&] { read_with(R"("id": "")"); }, refuses_line_1("at least one character"));
  EXPECT_THAT([&] { read_with(R"("id": "a\u0000b")"); }, refuses_line_1("none of them NUL"));
}

TEST_F(DatasetTest, SaysWhereALineIsNotJson) {
  EXPECT_THAT(
      [&] { read_all("{\"prompt\": \"a\", \"target\": \"b\"}\n\n{\"prompt\": tru}\n"); },
      ThrowsMessage<DataError>(Eq(
          "prompts.jsonl:3: not JSON, expected an object on one line; mend it: column 15: syntax "
          "error while parsing value - invalid literal")));
  EXPECT_THAT([&] { read_one("{\"prompt\":"); }, refuses_line_1("unexpected end of input"));
  EXPECT_THAT([&] { read_one("{\"id\": 1e999}"); }, refuses_line_1("number overflow"));
  EXPECT_THAT([&] { read_one("{} {}"); }, refuses_line_1("not JSON"));
  EXPECT_THAT([&] { read_one("["); }, refuses_line_1("not JSON, expected an object on one line"));
}

TEST_F(DatasetTest, RefusesWhatIsNotUtf8) {
  EXPECT_THAT([&] { read_one("{\"prompt\": \"\xE9t\xE9\"}"); }, refuses_line_1("ill-formed UTF-8"));
  EXPECT_THAT(
      [&] { read_one("{\"prompt\": \"\xED\xA0\x80\"}"); }, refuses_line_1("ill-formed UTF-8"));
  EXPECT_THAT([&] { read_one(R"({"prompt": "\ud83d"})"); }, refuses_line_1("surrogate"));
}

TEST_F(DatasetTest, RefusesALineThatIsNoObject) {
  EXPECT_THAT(
      [&] { read_one("[1, 2]"); }, refuses_line_1("expected a JSON object with a prompt: [1,2]"));
  EXPECT_THAT([&] { read_one("\"Hello\""); }, refuses_line_1("expected a JSON object"));
}

TEST_F(DatasetTest, GoesOnBehindABadLine) {
  DatasetReader reader({.path = write("nonsense\n{\"prompt\": \"a\", \"target\": \"b\"}\n")});
  EXPECT_THROW(reader.next(), DataError);
  EXPECT_THAT(reader.next().value().where, Eq("prompts.jsonl:2"));
  EXPECT_FALSE(reader.next());
}

TEST_F(DatasetTest, NamesTheKeyThatWasMeant) {
  EXPECT_THAT(
      [&] { read_one(R"({"promt": "a", "target": "b"})"); },
      refuses_line_1("unknown key, did you mean prompt: promt"));
  EXPECT_THAT(
      [&] { read_with(R"("tragets": 1)"); },
      refuses_line_1("unknown key, did you mean targets: tragets"));
  EXPECT_THAT(
      [&] { read_with(R"("category": "science")"); },
      refuses_line_1("unknown key, the known ones are id, prompt, input_ids, target,"));
}

TEST_F(DatasetTest, SaysThatImagesAreNotExplained) {
  EXPECT_THAT([&] { read_with(R"("image": "cat.png")"); }, refuses_line_1("explains text only"));
}

TEST_F(DatasetTest, RefusesAKeyGivenTwice) {
  EXPECT_THAT(
      [&] { read_with(R"("prompt": "again")"); },
      refuses_line_1("a key is given twice; leave one of them out: \"prompt\""));
}

TEST_F(DatasetTest, RefusesMissingAndContradictingKeys) {
  EXPECT_THAT(
      [&] { read_one(R"({"target": "b"})"); },
      refuses_line_1("neither prompt nor input_ids is there; give one of them"));
  EXPECT_THAT(
      [&] { read_one(R"({"prompt": "a"})"); },
      refuses_line_1("neither target nor target_ids is there; give one of them"));
  EXPECT_THAT(
      [&] { read_with(R"("input_ids": [1])"); },
      refuses_line_1("prompt and input_ids contradict each other; leave one of them out"));
  EXPECT_THAT(
      [&] { read_with(R"("target_ids": [1])"); },
      refuses_line_1("target and target_ids contradict each other"));
  EXPECT_THAT(
      [&] { read_with(R"("units": [], "unit_tokens": [])"); },
      refuses_line_1("units and unit_tokens contradict each other"));
}

TEST_F(DatasetTest, RefusesWrongTypes) {
  EXPECT_THAT(
      [&] { read_one(R"({"prompt": ["a"], "target": "b"})"); },
      refuses_line_1("prompt must be a string: [\"a\"]"));
  EXPECT_THAT(
      [&] { read_one(R"({"prompt": {"prompt": "a"}, "target": "b"})"); },
      refuses_line_1("prompt must be a string: {\"prompt\":\"a\"}"));
  EXPECT_THAT(
      [&] { read_one(R"({"prompt": "a", "target": null})"); },
      refuses_line_1("target must be a string: null"));
  EXPECT_THAT(
      [&] { read_one(R"({"input_ids": "1 2", "target": "b"})"); },
      refuses_line_1("input_ids must be a list of token ids: \"1 2\""));
  EXPECT_THAT(
      [&] { read_one(R"({"input_ids": [1, 2.0], "target": "b"})"); },
      refuses_line_1("input_ids[1] must be an integer from 0 to 2147483647: 2.0"));
  EXPECT_THAT(
      [&] { read_one(R"({"input_ids": [true], "target": "b"})"); },
      refuses_line_1("input_ids[0] must be an integer from 0 to 2147483647: true"));
  EXPECT_THAT(
      [&] { read_with(R"("unit_tokens": [0, 1])"); },
      refuses_line_1("unit_tokens[0] must be a list of token positions: 0"));
}

TEST_F(DatasetTest, RefusesIntegersOutOfRange) {
  const std::string expected = "must be an integer from 0 to 2147483647: ";
  for (const std::string value :
       {"-1", "2147483648", "9223372036854775808", "18446744073709551615"}) {
    EXPECT_THAT(
        [&] { read_one(fmt::format(R"({{"input_ids": [{}], "target": "b"}})", value)); },
        refuses_line_1(expected + value));
  }
}

TEST_F(DatasetTest, RefusesRangesThatAreNone) {
  const std::string expected = "must be [start, end) in characters, start not after end: ";
  EXPECT_THAT(
      [&] { read_with(R"("units": [[0, 1], [3, 2]])"); },
      refuses_line_1("units[1] " + expected + "[3,2]"));
  EXPECT_THAT(
      [&] { read_with(R"("units": [[0, 1, 2]])"); }, refuses_line_1("units[0] " + expected));
  EXPECT_THAT(
      [&] { read_with(R"("evidence": [0, 5])"); }, refuses_line_1("evidence[0] " + expected + "0"));
  EXPECT_THAT(
      [&] { read_with(R"("evidence_box": [0, 0, 5])"); },
      refuses_line_1("evidence_box must be [x0, y0, x1, y1] in pixels"));
  EXPECT_THAT(
      [&] { read_with(R"("evidence_box": [0, 9, 5, 8])"); },
      refuses_line_1("x0 <= x1 and y0 <= y1"));
}

TEST_F(DatasetTest, ShowsLongValuesShortened) {
  const std::string many(1000, '7');
  try {
    read_with(fmt::format(R"("units": "{}")", many));
    FAIL() << "not refused";
  } catch (const DataError& error) {
    EXPECT_LT(std::string(error.what()).size(), 200);
  }
}

TEST_F(DatasetTest, RefusesAFileThatCannotBeRead) {
  EXPECT_THAT(
      [&] { DatasetReader({.path = folder_ / "missing.jsonl"}); },
      ThrowsMessage<IoError>(AllOf(HasSubstr("missing.jsonl"), HasSubstr("No such file"))));
  EXPECT_THROW(DatasetReader({.path = folder_}).next(), IoError);
}

TEST_F(DatasetTest, RefusesOtherFormats) {
  EXPECT_THAT(
      [&] { DatasetReader({.path = write(""), .format = "csv"}); },
      ThrowsMessage<JobError>(HasSubstr("data.format must be jsonl or squad: csv")));
}

}  // namespace
}  // namespace limn::test
