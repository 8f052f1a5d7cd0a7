#include "coordinator/template_renderer.h"

#include <map>
#include <random>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/error.h"
#include "tests/messages.h"
#include "tests/temporary_folder.h"
#include "tests/test_folders.h"

namespace limn::test {

namespace {

using testing::HasSubstr;

using Variables = std::map<std::string, TemplateData>;

std::string render(const std::string& text, const Variables& variables = {}) {
  return render_template(parse_template(text), variables);
}

std::string refusal(const std::string& text) {
  return message_of<DataError>([&] { render(text); });
}

// Small templates and what Jinja, set up as transformers does, makes of them; null where it raises
// an error. Made by tests/python/compare_chat_templates.py.
TemplateData goldens() {
  return TemplateData::parse(read_bytes(test_data() / "chat_templates" / "goldens.json"));
}

Variables golden_variables() {
  Variables variables;
  const TemplateData all = goldens();
  for (const auto& [name, value] : all["variables"].items())
    variables[name] = value;
  return variables;
}

}  // namespace

TEST(TemplateRendererTest, RendersWhatJinjaRenders) {
  const Variables variables = golden_variables();
  const TemplateData all = goldens();
  ASSERT_GT(all["goldens"].size(), 80U);
  for (const TemplateData& golden : all["goldens"]) {
    const std::string text = golden["template"].get<std::string>();
    if (golden["text"].is_null()) {
      EXPECT_THROW(render(text, variables), DataError) << text;
    } else {
      EXPECT_EQ(render(text, variables), golden["text"].get<std::string>()) << text;
    }
  }
}

TEST(TemplateRendererTest, NamesWhatItDoesNotKnow) {
  EXPECT_THAT(refusal("{{ 'a' | urlize }}"), HasSubstr("limn does not know the filter urlize"));
  EXPECT_THAT(refusal("{{ 'a' is callable }}"), HasSubstr("limn does not know the test callable"));
  EXPECT_THAT(refusal("{{ 'a'.zfill(3) }}"), HasSubstr("limn does not know the method zfill"));
  EXPECT_THAT(refusal("{{ lipsum() }}"), HasSubstr("limn does not know the function lipsum"));
  EXPECT_THAT(
      refusal("a\n{% include 'x' %}"),
      HasSubstr("line 2 of the chat template: limn does not know this block: include"));
  EXPECT_THAT(refusal("{{ 'a' | tojson(x=1) }}"), HasSubstr("an argument that limn does not know"));
  EXPECT_THAT(refusal("{{ [1] }}"), HasSubstr("a value of type array is printed"));
  EXPECT_THAT(refusal("{{ missing.x }}"), HasSubstr("missing is not defined"));
  EXPECT_THAT(refusal("{{ strftime_now('%d') }}"), HasSubstr("asks for today's date"));
  EXPECT_THAT(
      refusal("{{ raise_exception('Only one.') }}"),
      HasSubstr("the chat template refuses the messages: Only one."));
}

TEST(TemplateRendererTest, EndsWhateverATemplateAsksFor) {
  EXPECT_THAT(refusal("{{ range(10000000) | length }}"), HasSubstr("more than a million"));
  EXPECT_THAT(refusal("{{ 'a' * 100000000 }}"), HasSubstr("repeated too often"));
  EXPECT_THAT(refusal("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"), HasSubstr("too deeply"));
  EXPECT_THAT(refusal("{{ 9223372036854775807 + 1 }}"), HasSubstr("too large"));
  EXPECT_THAT(refusal("{{ 99999999999999999999 }}"), HasSubstr("too large"));
  constexpr int kDepth = 50'000;

  struct Nesting {
    const char* opening;
    const char* closing;
  };

  for (const Nesting& nesting :
       {Nesting{"(", ")"},
        {"[", "]"},
        {"{'a':", "}"},
        {"not ", ""},
        {"-", ""},
        {"a if b else ", ""}}) {
    std::string deep = "{{ ";
    for (int i = 0; i < kDepth; ++i)
      deep += nesting.opening;
    deep += "1";
    for (int i = 0; i < kDepth; ++i)
      deep += nesting.closing;
    EXPECT_THAT(refusal(deep + " }}"), HasSubstr("nested too deeply")) << nesting.opening;
  }
  std::string blocks;
  for (int i = 0; i < kDepth; ++i)
    blocks += "{% if true %}";
  EXPECT_THAT(refusal(blocks), HasSubstr("nested too deeply"));
}

TEST(TemplateRendererTest, RefusesOrRendersWhateverIsLeftOfATemplate) {
  const Variables variables = golden_variables();
  const TemplateData all = goldens();
  std::mt19937 random(3);
  for (const TemplateData& golden : all["goldens"]) {
    const std::string text = golden["template"].get<std::string>();
    for (int i = 0; i < 200; ++i) {
      std::string broken = text;
      broken.erase(random() % broken.size(), random() % 4 + 1);
      if (random() % 2 == 0)
        broken.insert(random() % (broken.size() + 1), 1, "{}%|()[]'\".-#"[random() % 13]);
      try {
        render(broken, variables);
      } catch (const DataError&) {
        continue;
      }
    }
  }
}

}  // namespace limn::test
