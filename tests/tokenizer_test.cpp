#include "coordinator/tokenizer.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "coordinator/code_points.h"
#include "storage/error.h"
#include "tests/temporary_folder.h"
#include "tests/test_folders.h"

namespace limn::test {

namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::Property;
using ::testing::ThrowsMessage;

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::filesystem::path data_folder(const std::string& name) {
  return test_data() / "tokenizers" / name;
}

std::filesystem::path shared_tokenizer(const std::string& name) {
  return shared_folder() / "tokenizers" / name;
}

nlohmann::json data_json(const std::string& name) {
  return nlohmann::json::parse(read_file(data_folder(name) / "tokenizer.json"));
}

// A folder for this test alone with `text` as its tokenizer.json.
std::filesystem::path write_tokenizer(const std::string& text) {
  const auto* const test = ::testing::UnitTest::GetInstance()->current_test_info();
  std::string name = std::string(test->test_suite_name()) + "." + test->name();
  std::replace(name.begin(), name.end(), '/', '.');
  const std::filesystem::path folder = std::filesystem::path(::testing::TempDir()) / name;
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "tokenizer.json", std::ios::binary) << text;
  return folder;
}

Tokenizer load_json(const nlohmann::json& document) {
  return Tokenizer::load(write_tokenizer(document.dump()));
}

std::vector<std::int32_t> ids_of(const std::vector<TokenRecord>& tokens) {
  std::vector<std::int32_t> ids;
  for (const TokenRecord& token : tokens) {
    ids.push_back(token.id);
  }
  return ids;
}

std::vector<TokenRecord> expected_tokens(const nlohmann::json& golden) {
  std::vector<TokenRecord> tokens;
  for (std::size_t i = 0; i < golden.at("ids").size(); ++i) {
    tokens.push_back({golden["ids"][i], {golden["begin"][i], golden["end"][i]}});
  }
  return tokens;
}

std::string without_dashes(std::string name) {
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

// Every character that is not white space lies in a token, and tokens come in the text's order.
void expect_covers(const std::string& text, const std::vector<TokenRecord>& tokens) {
  const std::vector<std::int64_t> offset = code_point_offsets(text);
  std::vector<bool> is_covered(offset.size() - 1);
  std::int32_t last_begin = 0;
  for (const TokenRecord& token : tokens) {
    EXPECT_LE(last_begin, token.chars.begin);
    EXPECT_LE(token.chars.begin, token.chars.end);
    ASSERT_LT(static_cast<std::size_t>(token.chars.end), offset.size());
    last_begin = token.chars.begin;
    std::fill(is_covered.begin() + token.chars.begin, is_covered.begin() + token.chars.end, true);
  }
  for (std::size_t i = 0; i < is_covered.size(); ++i) {
    const bool is_space = std::string_view(" \t\r\n").find(text[offset[i]]) != std::string::npos;
    EXPECT_TRUE(is_covered[i] || is_space) << "character " << i << " of: " << text;
  }
}

}  // namespace

// -- What Python's tokenizers gives ---------------------------------------------------------------

TEST(TokenizerTest, EncodesAsPythonDoes) {
  const nlohmann::json goldens = nlohmann::json::parse(read_file(data_folder("goldens.json")));
  for (const nlohmann::json& golden_case : goldens.at("cases")) {
    SCOPED_TRACE(golden_case.at("name").get<std::string>());
    nlohmann::json document = data_json(golden_case.at("tokenizer"));
    document.merge_patch(golden_case.at("patch"));
    const Tokenizer tokenizer = load_json(document);
    for (const nlohmann::json& golden : golden_case.at("texts")) {
      const std::string text = golden.at("text");
      const std::vector<TokenRecord> tokens = tokenizer.encode(text, SpecialTokens::Add);
      EXPECT_THAT(tokens, ElementsAreArray(expected_tokens(golden))) << "text: " << text;
    }
  }
}

class PublishedTokenizerTest : public ::testing::TestWithParam<std::string> {
 protected:
  std::filesystem::path folder() const { return shared_tokenizer(GetParam()); }

  // The texts of NAME.inp, which stand between separator lines.
  std::vector<std::string> texts() const {
    constexpr std::string_view kSeparator = "\n__ggml_vocab_test__\n";
    const std::string input = read_file(folder() / (GetParam() + ".inp"));
    std::vector<std::string> result;
    for (std::size_t begin = 0; begin < input.size();) {
      const std::size_t end = input.find(kSeparator, begin);
      if (end == std::string::npos) break;
      result.push_back(input.substr(begin, end - begin));
      begin = end + kSeparator.size();
    }
    return result;
  }

  // The lines of NAME.out.
  std::vector<std::vector<std::int32_t>> expected_ids() const {
    std::ifstream file(folder() / (GetParam() + ".out"));
    std::vector<std::vector<std::int32_t>> result;
    for (std::string line; std::getline(file, line);) {
      std::istringstream numbers(line);
      std::vector<std::int32_t>& ids = result.emplace_back();
      for (std::int32_t id = 0; numbers >> id;) {
        ids.push_back(id);
      }
    }
    return result;
  }
};

TEST_P(PublishedTokenizerTest, GivesThePublishedIds) {
  if (!std::filesystem::exists(folder())) GTEST_SKIP() << "not there: " << folder();
  const Tokenizer tokenizer = Tokenizer::load(folder());
  const std::vector<std::string> inputs = texts();
  const std::vector<std::vector<std::int32_t>> expected = expected_ids();
  ASSERT_GE(inputs.size(), 40U);
  ASSERT_EQ(inputs.size(), expected.size());
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const std::vector<TokenRecord> tokens = tokenizer.encode(inputs[i], SpecialTokens::Omit);
    EXPECT_THAT(ids_of(tokens), ElementsAreArray(expected[i])) << "text: " << inputs[i];
    expect_covers(inputs[i], tokens);
  }
}

INSTANTIATE_TEST_SUITE_P(
    All,
    PublishedTokenizerTest,
    ::testing::Values("gpt-2", "gpt-neox", "llama-2", "llama-3", "qwen3"),
    [](const ::testing::TestParamInfo<std::string>& tested) {
      return without_dashes(tested.param);
    });

// -- Promises of the header -----------------------------------------------------------------------

TEST(TokenizerTest, AddsSpecialTokensOnlyWhenAsked) {
  const Tokenizer tokenizer = Tokenizer::load(data_folder("sentencepiece"));
  const std::vector<TokenRecord> bare = tokenizer.encode("the ships", SpecialTokens::Omit);
  std::vector<TokenRecord> framed = bare;
  framed.insert(framed.begin(), {1, {-1, -1}});
  framed.push_back({2, {-1, -1}});
  EXPECT_EQ(tokenizer.encode("the ships", SpecialTokens::Add), framed);
  EXPECT_THAT(tokenizer.encode("", SpecialTokens::Omit), ElementsAre());
}

TEST(TokenizerTest, RefusesTextThatIsNotUtf8) {
  const Tokenizer tokenizer = Tokenizer::load(data_folder("byte-level"));
  // A lone continuation, a cut character, an overlong one, a surrogate, one beyond U+10FFFF.
  for (const char* const text :
       {"ships\x80",
        "ships\xE2\x82",
        "ships\xC0\xAF",
        "ships\xED\xA0\x80",
        "ships\xF4\x90\x80\x80"}) {
    EXPECT_THAT(
        [&] { tokenizer.encode(text, SpecialTokens::Omit); },
        ThrowsMessage<DataError>(HasSubstr("5")));
  }
}

TEST(TokenizerTest, CoversTheTextWithTokensInOrder) {
  const std::string text =
      "na\xC3\xAFve \xF0\x9F\x98\x80 ships,\r\n\tthe  shore \xE5\xB3\xB6\xE3\x80\x85";
  for (const char* const name : {"byte-level", "sentencepiece", "unigram", "sentencepiece-model"}) {
    const Tokenizer tokenizer = Tokenizer::load(data_folder(name));
    expect_covers(text, tokenizer.encode(text, SpecialTokens::Omit));
  }
}

TEST(TokenizerTest, EncodesAWordOfMegabytes) {
  const Tokenizer tokenizer = Tokenizer::load(data_folder("sentencepiece"));
  std::string text;
  while (text.size() < 4'000'000)
    text += "theshipsthatpassed";
  const std::vector<TokenRecord> tokens = tokenizer.encode(text, SpecialTokens::Omit);
  EXPECT_EQ(tokens.back().chars.end, static_cast<std::int32_t>(text.size()));
}

TEST(TokenizerTest, GivesEveryThreadTheSameTokens) {
  const Tokenizer tokenizer = Tokenizer::load(data_folder("byte-level"));
  const std::string text = read_file(data_folder("make_goldens.py"));
  const std::vector<TokenRecord> expected = tokenizer.encode(text, SpecialTokens::Add);
  std::vector<std::vector<TokenRecord>> results(4);
  {
    std::vector<std::jthread> threads;
    for (std::vector<TokenRecord>& result : results) {
      threads.emplace_back([&] { result = tokenizer.encode(text, SpecialTokens::Add); });
    }
  }
  for (const std::vector<TokenRecord>& result : results) {
    EXPECT_EQ(result, expected);
  }
}

TEST(TokenizerTest, CountsTheAddedTokensInTheVocabulary) {
  const nlohmann::json document = data_json("byte-level");
  const auto expected = static_cast<std::int64_t>(
      document.at("model").at("vocab").size() + document.at("added_tokens").size());
  EXPECT_EQ(Tokenizer::load(data_folder("byte-level")).vocab_size(), expected);
}

TEST(TokenizerTest, ShowsTokensAsAPersonReadsThem) {
  const auto text_of = [](const char* name, const std::string& token) {
    const nlohmann::json document = data_json(name);
    const Tokenizer tokenizer = Tokenizer::load(data_folder(name));
    return tokenizer.token_text(document.at("model").at("vocab").at(token));
  };
  EXPECT_EQ(text_of("byte-level", "\xC4\xA0the"), " the");
  EXPECT_EQ(text_of("byte-level", "\xC4\x8A"), "\n");
  EXPECT_EQ(text_of("byte-level", "\xC3\xA2"), "<0xE2>");
  EXPECT_EQ(text_of("sentencepiece", "\xE2\x96\x81the"), " the");
  EXPECT_EQ(text_of("sentencepiece", "<0xE2>"), "<0xE2>");
  EXPECT_EQ(text_of("sentencepiece", "<0x0A>"), "\n");
  EXPECT_EQ(text_of("sentencepiece", "</s>"), "</s>");
  EXPECT_EQ(text_of("word-piece", "the"), " the");
  EXPECT_EQ(text_of("word-piece", "##er"), "er");
  EXPECT_EQ(text_of("word-piece", ","), ",");
  EXPECT_EQ(text_of("word-piece", "[CLS]"), "[CLS]");

  const Tokenizer tokenizer = Tokenizer::load(data_folder("byte-level"));
  const auto last = static_cast<std::int32_t>(tokenizer.vocab_size()) - 1;
  EXPECT_EQ(tokenizer.token_text(last), "<|end|>");
  EXPECT_THROW(tokenizer.token_text(last + 1), InternalError);
}

// -- SentencePiece models
// --------------------------------------------------------------------------

class SentencePieceTest : public ::testing::Test {
 protected:
  // A folder for this test alone with the model, and `config` if it is not empty.
  std::filesystem::path folder(const std::string& config) const {
    const auto* const test = ::testing::UnitTest::GetInstance()->current_test_info();
    const std::filesystem::path result = std::filesystem::path(::testing::TempDir()) /
                                         ("SentencePieceTest." + std::string(test->name()));
    std::filesystem::remove_all(result);
    std::filesystem::create_directories(result);
    std::filesystem::copy_file(model_folder_ / "tokenizer.model", result / "tokenizer.model");
    if (!config.empty()) std::ofstream(result / "tokenizer_config.json") << config;
    return result;
  }

  std::vector<std::int32_t> encode(const std::string& config) const {
    return ids_of(Tokenizer::load(folder(config)).encode("ships", SpecialTokens::Add));
  }

  const std::filesystem::path model_folder_ = data_folder("sentencepiece-model");
};

TEST_F(SentencePieceTest, EncodesAsPythonDoes) {
  const Tokenizer tokenizer = Tokenizer::load(model_folder_);
  const auto goldens = nlohmann::json::parse(read_file(model_folder_ / "goldens.json"));
  for (const nlohmann::json& golden : goldens) {
    const std::string text = golden.at("text");
    EXPECT_THAT(
        ids_of(tokenizer.encode(text, SpecialTokens::Add)),
        ElementsAreArray(golden.at("ids").get<std::vector<std::int32_t>>()))
        << "text: " << text;
  }
}

TEST_F(SentencePieceTest, GivesTheBytesOfACharacterItsPlace) {
  // The last character is not in the model: one token for the space, four for the bytes.
  const std::vector<TokenRecord> tokens =
      Tokenizer::load(model_folder_).encode("\xC3\xA9 \xF0\x9D\x84\x9E", SpecialTokens::Omit);
  ASSERT_GE(tokens.size(), 4U);
  for (auto token = tokens.end() - 4; token != tokens.end(); ++token) {
    EXPECT_EQ(token->chars, (CharRange{2, 3}));
  }
}

TEST_F(SentencePieceTest, AddsTheTokensThatTheConfigAsksFor) {
  const std::vector<std::int32_t> bare =
      ids_of(Tokenizer::load(model_folder_).encode("ships", SpecialTokens::Omit));
  std::vector<std::int32_t> begun = bare;
  begun.insert(begun.begin(), 1);
  std::vector<std::int32_t> ended = bare;
  ended.push_back(2);
  EXPECT_EQ(encode(""), begun);
  EXPECT_EQ(encode("{}"), begun);
  EXPECT_EQ(encode(R"({"add_bos_token": false})"), bare);
  EXPECT_EQ(encode(R"({"add_bos_token": false, "add_eos_token": true})"), ended);
  begun.front() = 2;
  EXPECT_EQ(encode(R"({"bos_token": {"content": "</s>"}})"), begun);
}

TEST_F(SentencePieceTest, RefusesATokenThatTheModelDoesNotHave) {
  EXPECT_THAT(
      [&] { encode(R"({"bos_token": "<|begin|>"})"); },
      ThrowsMessage<DataError>(HasSubstr("bos_token must be a token of tokenizer.model")));
}

TEST_F(SentencePieceTest, RefusesADamagedModel) {
  const std::filesystem::path place = folder("");
  std::filesystem::resize_file(place / "tokenizer.model", 3000);
  EXPECT_THAT(
      [&] { Tokenizer::load(place); },
      ThrowsMessage<DataError>(HasSubstr("tokenizer.model: is no SentencePiece model")));
}

TEST_F(SentencePieceTest, ShowsTokensAsAPersonReadsThem) {
  const Tokenizer tokenizer = Tokenizer::load(model_folder_);
  const std::vector<TokenRecord> tokens =
      tokenizer.encode("the\n\xF0\x9D\x84\x9E", SpecialTokens::Add);
  std::string shown;
  for (const TokenRecord& token : tokens)
    shown += tokenizer.token_text(token.id) + "|";
  EXPECT_EQ(shown, "<s>| the|\n|<0xF0>|<0x9D>|<0x84>|<0x9E>|");
}

// -- Files that are damaged or not supported ------------------------------------------------------

TEST(TokenizerTest, SaysThatTheFileIsMissing) {
  EXPECT_THAT(
      [&] { Tokenizer::load(data_folder("no-such-tokenizer")); },
      ThrowsMessage<IoError>(
          HasSubstr("no-such-tokenizer: has neither tokenizer.json nor tokenizer.model")));
}

TEST(TokenizerTest, RefusesAFileThatIsNotJson) {
  const std::string text = read_file(data_folder("byte-level") / "tokenizer.json");
  for (const std::string& damaged : {std::string(), text.substr(0, text.size() / 2), text + "]"}) {
    EXPECT_THROW(Tokenizer::load(write_tokenizer(damaged)), DataError);
  }
}

struct Refusal {
  std::string name;
  std::string patch;     // of sentencepiece/tokenizer.json
  std::string expected;  // in the message
};

void PrintTo(const Refusal& refusal, std::ostream* stream) {
  *stream << refusal.name;
}

class RefusedTokenizerTest : public ::testing::TestWithParam<Refusal> {};

TEST_P(RefusedTokenizerTest, IsNamedWithFileAndKey) {
  nlohmann::json document = data_json("sentencepiece");
  document.merge_patch(nlohmann::json::parse(GetParam().patch));
  EXPECT_THAT(
      [&] { load_json(document); },
      ThrowsMessage<DataError>(
          AllOf(HasSubstr("tokenizer.json: "), HasSubstr(GetParam().expected))));
}

const Refusal kRefusals[] = {
    // Kinds that are not there (yet).
    {"ModelKind", R"({"model": {"type": "Lattice"}})", R"(model.type is not supported: "Lattice")"},
    {"NormalizerKind",
     R"({"normalizer": {"normalizers": [{"type": "Uppercase"}]}})",
     R"(normalizer.normalizers[0].type is not supported: "Uppercase")"},
    {"PreTokenizerKind",
     R"({"pre_tokenizer": {"type": "UnicodeScripts"}})",
     R"(pre_tokenizer.type is not supported: "UnicodeScripts")"},
    {"PostProcessorKind",
     R"({"post_processor": {"type": "XlmProcessing"}})",
     R"(post_processor.type is not supported: "XlmProcessing")"},
    {"DecoderKind", R"({"decoder": {"type": "CTC"}})", R"(decoder.type is not supported: "CTC")"},
    {"Dropout", R"({"model": {"dropout": 0.1}})", "model.dropout is not supported: 0.1"},
    {"BytesWithASuffix",
     R"({"model": {"end_of_word_suffix": "</w>"}})",
     "model.byte_fallback is not supported with a prefix or suffix: true"},
    {"SecondTemplate",
     R"({"post_processor": {"type": "Sequence", "single": null, "pair": null,
         "special_tokens": null, "processors": [
         {"type": "BertProcessing", "cls": ["<s>", 1], "sep": ["</s>", 2]},
         {"type": "BertProcessing", "cls": ["<s>", 1], "sep": ["</s>", 2]}]}})",
     "post_processor.processors[1].type must not come after another that adds tokens"},
    {"UnigramWithoutScores",
     R"({"model": {"type": "Unigram", "vocab": [["a", 0], ["b"]], "merges": null, "fuse_unk": null,
         "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
         "dropout": null, "ignore_merges": null}})",
     "model.vocab[1] must be a token and its score"},
    {"UnigramOfUnknownToken",
     R"({"model": {"type": "Unigram", "vocab": [["a", 0]], "merges": null, "fuse_unk": null,
         "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
         "dropout": null, "ignore_merges": null, "unk_id": 1}})",
     "model.unk_id must be the id of a token: 1"},
    {"WordPieceWithoutPrefix",
     R"({"model": {"type": "WordPiece", "max_input_chars_per_word": 9,
         "continuing_subword_prefix": 7}})",
     "model.continuing_subword_prefix must be a string"},
    {"MapIsNoBase64",
     R"({"normalizer": {"normalizers": [{"type": "Precompiled", "precompiled_charsmap": "?"}]}})",
     "normalizer.normalizers[0].precompiled_charsmap must be base64"},
    {"MapIsCut",
     R"({"normalizer": {"normalizers": [
         {"type": "Precompiled", "precompiled_charsmap": "AAQAAAAA"}]}})",
     "normalizer.normalizers[0].precompiled_charsmap must have a trie as long as it says"},
    {"FrameIdOutOfRange",
     R"({"post_processor": {"type": "BertProcessing", "single": null, "pair": null,
         "special_tokens": null, "cls": ["a", 9999], "sep": ["b", 2]}})",
     "post_processor.cls[1] must be the id of a token: 9999"},
    {"UnknownKey",
     R"({"pre_tokenizer": {"type": "Digits", "individual_digits": true, "roman": true}})",
     "pre_tokenizer.roman is not supported"},
    {"Behavior",
     R"({"pre_tokenizer": {"type": "Split", "pattern": {"String": " "}, "behavior": "Doubled",
         "invert": false}})",
     R"(pre_tokenizer.behavior is not supported: "Doubled")"},
    {"Regex",
     R"({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "[a-z&&[aeiou]]"},
         "behavior": "Isolated", "invert": false}})",
     "pre_tokenizer.pattern.Regex cannot be used"},
    {"Version", R"({"version": "2.0"})", "version must be 1.0"},

    // Keys that are missing or of a wrong type.
    {"NoModel", R"({"model": null})", "model is missing"},
    {"NoVocabulary", R"({"model": {"vocab": null}})", "model.vocab is missing"},
    {"NoMerges", R"({"model": {"merges": null}})", "model.merges is missing"},
    {"NoPrepend",
     R"({"normalizer": {"normalizers": [{"type": "Prepend"}]}})",
     "normalizer.normalizers[0].prepend is missing"},
    {"VocabularyIsAList", R"({"model": {"vocab": []}})", "model.vocab must be an object"},
    {"MergesAreAnObject", R"({"model": {"merges": {}}})", "model.merges must be an array"},
    {"FlagIsANumber", R"({"model": {"byte_fallback": 1}})", "model.byte_fallback must be true or"},
    {"TypeIsANumber", R"({"decoder": {"type": 7}})", "decoder.type must be a string"},
    {"AddedTokensAreAnObject", R"({"added_tokens": {}})", "added_tokens must be an array"},
    {"NoFlags",
     R"({"added_tokens": [{"id": 0, "content": "<unk>"}]})",
     "added_tokens[0].special is"},
    {"EmptyPattern",
     R"({"pre_tokenizer": {"type": "Split", "pattern": {"String": ""}, "behavior": "Isolated",
         "invert": false}})",
     "pre_tokenizer.pattern.String must not be empty"},

    // Contradictions.
    {"MergeOfUnknownToken", R"({"model": {"merges": ["t h", "the zzz"]}})", "model.merges[1] must"},
    {"MergeOfThree", R"({"model": {"merges": [["t", "h", "e"]]}})", "model.merges[0] must be two"},
    {"MergeWithoutResult", R"({"model": {"merges": ["z q"]}})", "model.merges[0] must be two"},
    {"NegativeId", R"({"model": {"vocab": {"t": -1}}})", "model.vocab.t must be an id"},
    {"HugeId", R"({"model": {"vocab": {"t": 4294967296}}})", "model.vocab.t must be an id"},
    {"FractionalId", R"({"model": {"vocab": {"t": 1.5}}})", "model.vocab.t must be an id"},
    {"IdGivenTwice", R"({"model": {"vocab": {"new token": 7}}})", "must not be the id of another"},
    {"AddedTokenOfOtherId",
     R"({"added_tokens": [{"id": 5, "content": "<unk>", "single_word": false, "lstrip": false,
         "rstrip": false, "normalized": false, "special": true}]})",
     "added_tokens[0].id must be 0"},
    {"TemplateOfUnknownToken",
     R"({"post_processor": {"single": [{"SpecialToken": {"id": "<x>", "type_id": 0}}]}})",
     "post_processor.special_tokens.<x> is missing"},
    {"TemplateIdOutOfRange",
     R"({"post_processor": {"special_tokens": {"<s>": {"ids": [450]}}}})",
     "post_processor.special_tokens.<s>.ids[0] must be the id of a token"},
    {"TemplateWithoutText", R"({"post_processor": {"single": []}})", "must have the Sequence A"},
};

INSTANTIATE_TEST_SUITE_P(
    All,
    RefusedTokenizerTest,
    ::testing::ValuesIn(kRefusals),
    [](const ::testing::TestParamInfo<Refusal>& tested) { return tested.param.name; });

// Whatever the file and the text: tokens or DataError, nothing else.
void expect_survives(const std::string& file, const std::string& text) {
  try {
    const Tokenizer tokenizer = Tokenizer::load(write_tokenizer(file));
    tokenizer.encode(text, SpecialTokens::Add);
    for (std::int32_t id = 0; id < std::min<std::int64_t>(tokenizer.vocab_size(), 500); ++id) {
      tokenizer.token_text(id);
    }
  } catch (const DataError&) {
  }
}

class DamagedTokenizerTest : public ::testing::TestWithParam<std::string> {
 protected:
  static constexpr int kNumRounds = 300;

  std::string file() const { return read_file(data_folder(GetParam()) / "tokenizer.json"); }

  std::uint64_t below(std::uint64_t limit) {
    return std::uniform_int_distribution<std::uint64_t>(0, limit - 1)(random_);
  }

  // Mostly valid UTF-8: a piece of text, or any bytes.
  std::string random_text() {
    const std::string source = read_file(data_folder("make_goldens.py"));
    std::string text = source.substr(below(source.size()), below(300));
    for (std::uint64_t i = below(3); i > 0; --i)
      text.insert(below(text.size() + 1), 1, static_cast<char>(below(256)));
    return text;
  }

  // A value of any type, or one from elsewhere in the document.
  nlohmann::json random_value(const nlohmann::json& leaves) {
    constexpr std::string_view kValues[] = {
        "null", "0", "599", "-1.5", "true", "\"\"", R"(["a", "b"])", R"({"type": "Sequence"})"};
    const std::uint64_t kind = below(std::size(kValues) + 4);
    if (kind < std::size(kValues)) return nlohmann::json::parse(kValues[kind]);
    return *std::next(leaves.begin(), static_cast<std::ptrdiff_t>(below(leaves.size())));
  }

  std::mt19937_64 random_{20240717};
};

TEST_P(DamagedTokenizerTest, SurvivesBytesThatChanged) {
  for (int round = 0; round < kNumRounds; ++round) {
    std::string damaged = file();
    for (std::uint64_t i = 1 + below(3); i > 0; --i)
      damaged[below(damaged.size())] = static_cast<char>(below(128));
    expect_survives(damaged, random_text());
  }
}

TEST_P(DamagedTokenizerTest, SurvivesValuesThatChanged) {
  const nlohmann::json document = nlohmann::json::parse(file());
  const nlohmann::json leaves = document.flatten();
  // Tokens and merges are many and all alike: the other values get their turn, too.
  std::vector<std::string> keys;
  for (const auto& leaf : leaves.items()) {
    const bool is_one_of_many =
        leaf.key().starts_with("/model/vocab/") || leaf.key().starts_with("/model/merges/");
    if (!is_one_of_many || below(20) == 0) keys.push_back(leaf.key());
  }
  for (int round = 0; round < kNumRounds; ++round) {
    nlohmann::json damaged = document;
    nlohmann::json::json_pointer key(keys[below(keys.size())]);
    if (below(3) == 0 && !key.parent_pointer().empty()) key = key.parent_pointer();
    damaged[key] = random_value(leaves);
    expect_survives(damaged.dump(), random_text());
  }
}

INSTANTIATE_TEST_SUITE_P(
    All,
    DamagedTokenizerTest,
    ::testing::Values("byte-level", "sentencepiece", "word-piece", "unigram"),
    [](const ::testing::TestParamInfo<std::string>& tested) {
      return without_dashes(tested.param);
    });

TEST(TokenizerTest, RefusesSequencesNestedWithoutEnd) {
  std::string nested = R"({"type": "NFC"})";
  for (int depth = 0; depth < 10'000; ++depth)
    nested = R"({"type": "Sequence", "normalizers": [)" + nested + "]}";
  const std::string text =
      R"({"model": {"type": "BPE", "vocab": {}, "merges": []}, "normalizer": )";
  EXPECT_THAT(
      [&] { Tokenizer::load(write_tokenizer(text + nested + "}")); },
      ThrowsMessage<DataError>(HasSubstr("is nested too deep")));
}

TEST(TokenizerTest, RefusesTheUnknownTokenOnlyWhenItIsNeeded) {
  nlohmann::json document = data_json("sentencepiece");
  document["model"]["byte_fallback"] = false;
  document["model"]["unk_token"] = "<unknown>";
  const Tokenizer tokenizer = load_json(document);
  EXPECT_THAT(
      tokenizer.encode("the ships", SpecialTokens::Omit), ::testing::SizeIs(::testing::Gt(1)));
  EXPECT_THAT(
      [&] { tokenizer.encode("\xE5\xB3\xB6", SpecialTokens::Omit); },
      ThrowsMessage<DataError>(HasSubstr("<unknown>")));
}

TEST(TokenizerFingerprintTest, IsThatOfTheFilesThatAreRead) {
  const TemporaryFolder folder;
  const auto now = [&] { return tokenizer_fingerprint(folder.path()); };
  EXPECT_EQ(now(), std::nullopt);
  write_bytes(folder / "tokenizer_config.json", "{}");
  EXPECT_EQ(now(), std::nullopt);
  write_bytes(folder / "tokenizer.model", "pieces");
  const auto of_pieces = now();
  EXPECT_NE(of_pieces, std::nullopt);
  write_bytes(folder / "tokenizer_config.json", "{\"add_bos_token\": false}");
  const auto with_config = now();
  EXPECT_NE(with_config, of_pieces);
  write_bytes(folder / "tokenizer.json", "{}");
  const auto of_json = now();
  EXPECT_NE(of_json, with_config);
  // Not read beside it.
  write_bytes(folder / "tokenizer.model", "others");
  EXPECT_EQ(now(), of_json);
}

}  // namespace limn::test
