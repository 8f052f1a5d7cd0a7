// Greedy decoding with cached keys and values against doing it without any: whole sequences, once
// for every token of the vocabulary, by the sweep.

#include "worker/generator.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "sharding/process_mesh.h"
#include "storage/checkpoint.h"
#include "storage/json_file.h"
#include "tests/golden.h"
#include "worker/decoder_weights.h"
#include "worker/layer_source.h"
#include "worker/model_family.h"
#include "worker/sweep.h"

namespace limn::test {

namespace {

using testing::ElementsAre;
using testing::SizeIs;

using Tokens = std::vector<std::int32_t>;

constexpr std::int64_t kNewTokens = 5;
// Float32 sums in another order move log-probabilities by less.
constexpr double kTie = 1e-4;

class GeneratorTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (ranks->size() > model.decoder.num_heads) GTEST_SKIP() << "more ranks than heads";
    weights = load_decoder_weights(checkpoint, model, *ranks, at::kFloat);
  }

  // The log-probability of every token of the vocabulary behind these, by as many sequences.
  std::vector<float> log_probs_behind(const Tokens& tokens) {
    Batch batch;
    for (std::int32_t token = 0; token < model.decoder.vocab_size; ++token) {
      batch.pieces.push_back(
          {.tokens = tokens, .target_ids = {token}, .prompt_length = std::ssize(tokens)});
    }
    SweepEngine engine(model.decoder, weights, Suppression{});
    std::vector<float> log_probs;
    for (const PieceResult& piece : engine.run(batch).pieces)
      log_probs.push_back(piece.base_log_prob.at(0));
    return log_probs;
  }

  // EXPECTs that each token of the answer is the most likely one behind all before it.
  void expect_most_likely(const Tokens& prompt, const Tokens& answer) {
    Tokens tokens = prompt;
    for (const std::int32_t token : answer) {
      const std::vector<float> log_probs = log_probs_behind(tokens);
      EXPECT_GE(log_probs.at(token), std::ranges::max(log_probs) - kTie)
          << "token " << tokens.size();
      tokens.push_back(token);
    }
  }

  GenerationResult generate(const GenerationBatch& batch) {
    ResidentLayers layers(weights.layers);
    return Generator(model.decoder, weights, layers, SweepCompute::Float32).run(batch);
  }

  // The golden's prompt, and the first half of it.
  GenerationBatch two_prompts() const {
    const Tokens all = golden["input_ids"].get<Tokens>();
    const auto length = golden["prompt_length"].get<std::ptrdiff_t>();
    const Tokens whole(all.begin(), all.begin() + length);
    const Tokens half(all.begin(), all.begin() + (length + 1) / 2);
    return {
        .id = 7, .prompts = {{3, whole, kNewTokens}, {4, half, kNewTokens - 2}}, .end_tokens = {}};
  }

  const std::filesystem::path folder = test_data() / "golden" / GetParam();
  const nlohmann::json golden = read_json(folder / "golden.json");
  const ModelConfig model = load_model_config(folder);
  const Checkpoint checkpoint{folder};
  std::unique_ptr<Communicator> ranks = world_communicator();
  DecoderWeights weights;
};

}  // namespace

TEST_P(GeneratorTest, GivesTheMostLikelyTokens) {
  const GenerationBatch batch = two_prompts();
  const GenerationResult result = generate(batch);
  EXPECT_EQ(result.batch_id, 7);
  ASSERT_THAT(result.targets, SizeIs(2));
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(result.targets[i].record_index, batch.prompts[i].record_index);
    EXPECT_EQ(std::ssize(result.targets[i].tokens), batch.prompts[i].max_new_tokens);
    expect_most_likely(batch.prompts[i].tokens, result.targets[i].tokens);
  }
}

TEST_P(GeneratorTest, EndsAnAnswerBeforeAnEndToken) {
  GenerationBatch batch = two_prompts();
  const std::vector<GeneratedTarget> endless = generate(batch).targets;
  const Tokens& first = endless[0].tokens;
  batch.end_tokens = {first[2]};
  const auto end = std::ranges::find(first, first[2]);
  // An end token that comes first is the answer.
  const Tokens expected(first.begin(), end == first.begin() ? end + 1 : end);
  EXPECT_EQ(generate(batch).targets[0].tokens, expected);

  batch.end_tokens = {first[0]};
  EXPECT_THAT(generate(batch).targets[0].tokens, ElementsAre(first[0]));
}

INSTANTIATE_TEST_SUITE_P(
    Families, GeneratorTest, testing::ValuesIn(golden_folders()), [](const auto& parameter) {
      return parameter.param;
    });

}  // namespace limn::test
