#include "coordinator/squad.h"

#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/code_points.h"
#include "coordinator/dataset.h"
#include "storage/error.h"
#include "tests/messages.h"
#include "tests/temporary_folder.h"

namespace limn::test {

namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Optional;
using testing::StartsWith;

// 3 sentences; every character before "Bo" takes more than one byte.
constexpr const char* kContext = "\u00e9\u4ed6\U0001f600 Bo met Ada. They ran. Bo fell.";

class SquadTest : public testing::Test {
 protected:
  // A file with questions of one paragraph.
  void write(const std::string& questions, const std::string& context = kContext) {
    write_bytes(
        folder_ / "q.json",
        fmt::format(
            R"({{"version": "2.0", "data": [{{"title": "Two", "paragraphs": [)"
            R"({{"context": "{}", "qas": [{}], "document_id": 7}}]}}]}})",
            context,
            questions));
  }

  static std::string question(const std::string& id, const std::string& text, int begin) {
    return fmt::format(
        R"({{"id": "{}", "question": "Who?", "answers": [{{"text": "{}", "answer_start": {}}}]}})",
        id,
        text,
        begin);
  }

  std::vector<DatasetRecord> records() const {
    std::vector<DatasetRecord> records;
    DatasetReader reader(data_);
    while (auto record = reader.next())
      records.push_back(*std::move(record));
    return records;
  }

  // What the evidence says, cut out of the prompt as Python does.
  static std::vector<std::string> evidence_texts(const DatasetRecord& record) {
    std::vector<std::string> texts;
    const std::vector<std::int64_t> offsets = code_point_offsets(*record.prompt);
    for (const EvidenceRecord& evidence : record.evidence) {
      const std::int64_t begin = offsets[evidence.chars.begin];
      texts.push_back(record.prompt->substr(begin, offsets[evidence.chars.end] - begin));
    }
    return texts;
  }

  std::string refusal_of_template(const std::string& text) {
    data_.prompt_template = text;
    return message_of<JobError>([&] { records(); });
  }

  std::string refusal(const std::string& file) {
    write_bytes(folder_ / "q.json", file);
    return message_of<DataError>([&] { records(); });
  }

  TemporaryFolder folder_;
  DataOptions data_{.path = folder_ / "q.json", .format = "squad"};
};

}  // namespace

TEST_F(SquadTest, MakesPromptsOfQuestions) {
  write(question("first", "Bo", 4) + "," + question("second", "They", 16));
  const auto made = records();
  ASSERT_EQ(made.size(), 2U);
  EXPECT_EQ(made[0].id, "first");
  EXPECT_EQ(made[0].where, "q.json: data[0].paragraphs[0].qas[0]");
  EXPECT_THAT(made[0].prompt, Optional(std::string(kContext) + "\nQuestion: Who?\nAnswer:"));
  EXPECT_THAT(made[0].target, Optional(std::string(" Bo")));
  EXPECT_THAT(evidence_texts(made[0]), ElementsAre("Bo"));
  EXPECT_EQ(made[1].index, 1);
  EXPECT_THAT(made[1].target, Optional(std::string(" They")));
  EXPECT_THAT(evidence_texts(made[1]), ElementsAre("They"));
}

TEST_F(SquadTest, FollowsTheTemplate) {
  write(question("a", "Ada", 11));
  data_.prompt_template = "{{{title}}} {question} [{context}]\n{context}\nA: ";
  const auto made = records();
  const std::string context(kContext);
  EXPECT_THAT(made[0].prompt, Optional("{Two} Who? [" + context + "]\n" + context + "\nA: "));
  // The template's own white space stands before it.
  EXPECT_THAT(made[0].target, Optional(std::string("Ada")));
  EXPECT_THAT(evidence_texts(made[0]), ElementsAre("Ada", "Ada"));
}

TEST_F(SquadTest, TheEvidenceMayBeTheSentence) {
  write(question("a", "They", 16) + "," + question("b", "ran. Bo", 21));
  data_.evidence = EvidenceKind::Sentence;
  data_.prompt_template = "Context: {context}";
  const auto made = records();
  EXPECT_THAT(evidence_texts(made[0]), ElementsAre("They ran."));
  EXPECT_THAT(evidence_texts(made[1]), ElementsAre("They ran.", "Bo fell."));
  data_.evidence = EvidenceKind::None;
  EXPECT_THAT(records()[0].evidence, ElementsAre());
}

TEST_F(SquadTest, TakesTheFirstAnswer) {
  write(R"({"id": "a", "question": "?", "is_impossible": false, "answers": [)"
        R"({"text": "met", "answer_start": 7}, {"text": "Bo", "answer_start": 4}]})");
  EXPECT_THAT(records()[0].target, Optional(std::string(" met")));
}

TEST_F(SquadTest, GivesAReasonWhereThereIsNoAnswer) {
  write(
      R"({"id": "a", "question": "?", "is_impossible": true, "answers": [], "plausible_answers": [)"
      R"({"text": "Bo", "answer_start": 4}]},)"
      R"({"id": "b", "question": "?", "answers": []}, {"id": "c", "question": "?"})");
  const auto made = records();
  ASSERT_EQ(made.size(), 3U);
  for (const DatasetRecord& record : made) {
    EXPECT_THAT(record.skip_reason, Optional(record.where + ": the question has no answer"));
    EXPECT_FALSE(record.prompt);
  }
  EXPECT_EQ(made[2].id, "c");
}

TEST_F(SquadTest, TheIdIsTheQuestionsOrItsPlace) {
  write(R"({"id": 17, "question": "?"}, {"question": "?"})");
  EXPECT_EQ(records()[0].id, "17");
  EXPECT_EQ(records()[1].id, "q.json: data[0].paragraphs[0].qas[1]");
}

TEST_F(SquadTest, GoesOnBehindAQuestionThatIsWrong) {
  write(
      question("a", "Bo", 5) + "," + question("b", "Bo", 4000) + "," + question("c", "Bo", -1) +
      R"(, {"id": "d", "question": 7}, {"id": "", "question": "?"},)"
      R"({"id": "e", "question": "?", "answers": [{"text": " ", "answer_start": 3}]},)"
      R"({"id": "f", "question": "?", "answers": [{"text": "Bo"}]},)" +
      question("g", "Bo", 4));
  DatasetReader reader(data_);
  for (const char* complaint :
       {"qas[0]: the answer must stand in the context from character answer_start on: Bo at 5",
        "qas[1]: the answer must stand in the context from character answer_start on: Bo at 4000",
        "qas[2].answers[0].answer_start must not be negative: -1",
        "qas[3].question must be a string: 7",
        "qas[4].id must have a character",
        "qas[5].answers[0].text must not be empty",
        "qas[6].answers[0].answer_start is missing"}) {
    EXPECT_THAT(
        message_of<DataError>([&] { reader.next(); }),
        AllOf(StartsWith("q.json: data[0].paragraphs[0]."), HasSubstr(complaint)));
  }
  EXPECT_EQ(reader.next().value().id, "g");
  EXPECT_FALSE(reader.next());
}

TEST_F(SquadTest, RefusesWhatIsNotSquad) {
  EXPECT_THAT(
      refusal("{\"id\": 1}\n{\"id\": 2}\n"), StartsWith("q.json: not JSON, as SQuAD's files are"));
  EXPECT_THAT(refusal("[]"), HasSubstr("q.json: the document must be an object"));
  EXPECT_THAT(refusal("{\"version\": 1}"), HasSubstr("q.json: data is missing"));
  EXPECT_THAT(
      refusal(R"({"data": [{"paragraphs": [{"qas": []}]}]})"),
      HasSubstr("data[0].paragraphs[0].context is missing"));
  EXPECT_THAT(refusal("{\"data\": \"\xFF\"}"), HasSubstr("ill-formed UTF-8"));
}

TEST_F(SquadTest, RefusesTemplatesThatAreNone) {
  write(question("a", "Bo", 4));
  EXPECT_EQ(
      refusal_of_template("{context} {anwser}!"),
      "data.template must have {context}, {question} and {title} as its only placeholders, and {{ "
      "and }} for braces: {anwser");
  EXPECT_THAT(refusal_of_template("{context} }"), HasSubstr("for braces: }"));
  EXPECT_THAT(refusal_of_template("{"), HasSubstr("for braces: {"));
  EXPECT_EQ(
      refusal_of_template("{question}"),
      "data.template must have {context}, where the answer stands");
}

}  // namespace limn::test
