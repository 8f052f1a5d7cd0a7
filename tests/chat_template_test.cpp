#include "coordinator/chat_template.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/code_points.h"
#include "coordinator/dataset.h"
#include "coordinator/sample.h"
#include "storage/error.h"
#include "tests/messages.h"
#include "tests/temporary_folder.h"
#include "tests/test_folders.h"

namespace limn::test {

namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Optional;
using testing::StartsWith;

constexpr const char* kTemplate =
    "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}\n{% endfor %}"
    "{% if tools %}{{ tools | tojson }}{% endif %}{{ mood }}{% if add_generation_prompt %}<a>\n{% "
    "endif %}";

class ChatTemplateTest : public testing::Test {
 protected:
  ChatTemplateTest() {
    write_bytes(folder_ / "chat_template.jinja", kTemplate);
    write_bytes(folder_ / "tokenizer_config.json", R"({"bos_token": {"content": "[B]"}})");
  }

  std::unique_ptr<const ChatTemplate> load() const { return ChatTemplate::load(folder_.path()); }

  DatasetRecord record(const std::string& line) {
    write_bytes(folder_ / "d.jsonl", line);
    return DatasetReader({.path = folder_ / "d.jsonl"}).next().value();
  }

  std::string refusal(const std::string& line) {
    return message_of<DataError>([&] { record(line); });
  }

  // The ranges of a record's evidence, cut out of its rendered prompt.
  std::vector<std::string> located(const std::string& line) {
    const DatasetRecord with_chat = record(line);
    const auto chat_template = load();
    const std::string prompt = chat_template->render(with_chat.chat->chat);
    const std::vector<std::int64_t> offsets = code_point_offsets(prompt);
    std::vector<std::string> texts;
    for (const CharRange& range :
         chat_template->locate(with_chat.chat->chat, prompt, with_chat.chat->evidence)) {
      texts.push_back(
          prompt.substr(offsets[range.begin], offsets[range.end] - offsets[range.begin]));
    }
    return texts;
  }

  TemporaryFolder folder_;
};

}  // namespace

TEST_F(ChatTemplateTest, RendersAConversation) {
  const DatasetRecord chat = record(
      R"({"messages": [{"role": "s", "content": " Hi \n"}, {"role": "user", "content": "Yo"}], )"
      R"("tools": [{"z": 1, "a": 2}], "chat_template_kwargs": {"mood": "!"}, "target": "b"})");
  EXPECT_FALSE(chat.prompt);
  EXPECT_EQ(load()->render(chat.chat->chat), "[B]<s>Hi\n<user>Yo\n[{\"z\": 1, \"a\": 2}]!<a>\n");
}

TEST_F(ChatTemplateTest, TakesTheTemplateThatTransformersTakes) {
  const Chat chat{.messages = TemplateData::array(), .tools = nullptr};
  write_bytes(
      folder_ / "tokenizer_config.json",
      R"({"chat_template": "config {{ eos_token }}", "bos_token": "[C]", "eos_token": null})");
  EXPECT_THAT(load()->render(chat), StartsWith("[C]"));
  std::filesystem::remove(folder_ / "chat_template.jinja");
  EXPECT_EQ(load()->render(chat), "config ");
  write_bytes(folder_ / "special_tokens_map.json", R"({"eos_token": {"content": "</s>"}})");
  EXPECT_EQ(load()->render(chat), "config </s>");
  write_bytes(
      folder_ / "tokenizer_config.json",
      R"({"chat_template": [{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}]})");
  EXPECT_EQ(load()->render(chat), "d");
  std::filesystem::remove(folder_ / "tokenizer_config.json");
  EXPECT_EQ(load(), nullptr);
}

TEST_F(ChatTemplateTest, ATemplateThatIsNotKnownIsAMistakeOfConversationsAlone) {
  write_bytes(folder_ / "chat_template.jinja", "\n{% include 'x' %}");
  const auto chat_template = load();
  ASSERT_NE(chat_template, nullptr);
  EXPECT_THAT(
      message_of<DataError>([&] { chat_template->render({}); }),
      HasSubstr("chat_template.jinja: line 2 of the chat template: limn does not know this block"));
}

TEST_F(ChatTemplateTest, FindsRangesOfMessages) {
  EXPECT_THAT(
      located(
          R"({"messages": [{"role": "user", "content": "user"}, {"role": "x", "content": "user"}, )"
          R"({"role": "user", "content": " \u4ed6 user \n"}, {"role": "x", "content": "y"}], )"
          R"("evidence": [[1, 2], [3, 7], {"message": 0, "range": [0, 4]}, )"
          R"({"message": 1, "range": [1, 3]}], "target": "b"})"),
      ElementsAre("\xE4\xBB\x96", "user", "user", "se"));
}

TEST_F(ChatTemplateTest, RefusesRangesThatAreNotInThePrompt) {
  const std::string line =
      R"({"messages": [{"role": "user", "content": " abc"}], "target": "b", "evidence": [[)";
  EXPECT_THAT(
      message_of<DataError>([&] { located(line + "0, 2]]}"); }),
      HasSubstr("a range must lie within the characters of its message"));
  EXPECT_THAT(
      message_of<DataError>([&] { located(line + "2, 5]]}"); }), HasSubstr("[2, 5) of message 0"));
  write_bytes(folder_ / "chat_template.jinja", "{{ messages[0].content | upper }}");
  EXPECT_THAT(
      message_of<DataError>([&] { located(line + "1, 2]]}"); }),
      HasSubstr("does not repeat a message as it is, so its characters are not found"));
  write_bytes(folder_ / "chat_template.jinja", "nothing");
  EXPECT_THAT(
      message_of<DataError>([&] { located(line + "1, 2]]}"); }), HasSubstr("does not repeat"));
}

TEST_F(ChatTemplateTest, RefusesConversationsThatAreNone) {
  EXPECT_THAT(
      refusal(R"({"messages": [], "target": "b"})"),
      HasSubstr("d.jsonl:1: messages must be a list of one or more objects"));
  EXPECT_THAT(
      refusal(R"({"messages": [{"content": "a"}], "target": "b"})"),
      HasSubstr("messages[0] must be an object with a role"));
  EXPECT_THAT(
      refusal(R"({"messages": [{"role": "user", "content": "a"}], "prompt": "a", "target": "b"})"),
      HasSubstr("messages and prompt contradict each other"));
  EXPECT_THAT(
      refusal(R"({"prompt": "a", "tools": [], "target": "b"})"),
      HasSubstr("only belongs to messages; leave it out: tools"));
  EXPECT_THAT(
      refusal(
          R"({"messages": [{"role": "x", "content": "a"}], "evidence": [[0, 1]], "target": "b"})"),
      HasSubstr("evidence[0] must be [start, end) in characters of the last message of the user"));
  EXPECT_THAT(
      refusal(R"({"messages": [{"role": "user", "content": "a"}], )"
              R"("units": [{"message": 1, "range": [0, 1]}], "target": "b"})"),
      HasSubstr("units[0] must be of a message whose content is a string"));
}

TEST_F(ChatTemplateTest, ASampleIsWhatAModelWouldGoOnFrom) {
  const Tokenizer tokenizer = Tokenizer::load(test_data() / "sample_tokenizer");
  const auto chat_template = load();
  const ExplainOptions options{.units = UnitKind::Given};
  const ModelLimits limits{.vocab_size = tokenizer.vocab_size(), .max_positions = 0};
  const SamplePreparer preparer(&tokenizer, options, limits, chat_template.get());
  const Sample sample = preparer.prepare(
      record(R"({"messages": [{"role": "user", "content": "The zoo."}], "target": "A zoo.", )"
             R"("units": [[4, 7]], "evidence": [[0, 3]]})"));
  EXPECT_EQ(sample.record.text, "[B]<user>The zoo.\n<a>\nA zoo.");
  // Encoded apart, and nothing is added to what the template says.
  std::vector<std::int32_t> expected;
  for (const char* text : {"[B]<user>The zoo.\n<a>\n", "A zoo."}) {
    for (const TokenRecord& token : tokenizer.encode(text, SpecialTokens::Omit))
      expected.push_back(token.id);
    if (expected.size() > static_cast<std::size_t>(sample.prompt_length)) continue;
    EXPECT_EQ(sample.prompt_length, std::ssize(expected));
  }
  std::vector<std::int32_t> ids;
  for (const TokenRecord& token : sample.record.tokens)
    ids.push_back(token.id);
  EXPECT_EQ(ids, expected);
  ASSERT_EQ(sample.record.units.size(), 1U);
  EXPECT_EQ(sample.record.units[0].chars, (CharRange{13, 16}));
  ASSERT_EQ(sample.record.evidence.size(), 1U);
  EXPECT_EQ(sample.record.evidence[0].chars, (CharRange{9, 12}));
}

TEST_F(ChatTemplateTest, RefusesAConversationWithoutATemplate) {
  const Tokenizer tokenizer = Tokenizer::load(test_data() / "sample_tokenizer");
  const SamplePreparer preparer(&tokenizer, {}, {.vocab_size = 1000, .max_positions = 0});
  EXPECT_THAT(
      message_of<DataError>([&] {
        preparer.prepare(
            record(R"({"messages": [{"role": "user", "content": "a"}], "target": "b"})"));
      }),
      StartsWith("d.jsonl:1: messages need a chat template; put chat_template.jinja into"));
}

}  // namespace limn::test
