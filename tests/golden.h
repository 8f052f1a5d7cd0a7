// The goldens of tests/data/golden: what transformers gave in float64 for checkpoints of real
// shapes. tests/data/golden/README.md says how they were made.
#pragma once

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "coordinator/batch.h"
#include "coordinator/job.h"
#include "tests/test_folders.h"
#include "worker/decoder_weights.h"
#include "worker/sweep.h"

namespace limn::test {

inline SuppressionKind kind_of(const std::string& name) {
  if (name == "log_additive") return SuppressionKind::LogAdditive;
  if (name == "multiplicative") return SuppressionKind::Multiplicative;
  if (name == "shifted") return SuppressionKind::Shifted;
  EXPECT_EQ(name, "shifted_full");
  return SuppressionKind::ShiftedFull;
}

inline BatchPiece piece_of(const nlohmann::json& golden) {
  BatchPiece piece;
  piece.tokens = golden["input_ids"].get<std::vector<std::int32_t>>();
  piece.tokens.pop_back();
  EXPECT_EQ(piece.fed_length(), golden["sequence_length"].get<std::int64_t>());
  piece.prompt_length = golden["prompt_length"].get<std::int64_t>();
  piece.target_ids = golden["target_ids"].get<std::vector<std::int32_t>>();
  for (const auto& unit : golden["units"]) {
    piece.perturbations.push_back({unit.get<std::vector<std::int32_t>>()});
  }
  return piece;
}

inline double largest_difference(const nlohmann::json& expected, const float* got) {
  double largest = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double error = std::abs(expected[i].get<double>() - got[i]);
    largest = std::isnan(error) ? 1e9 : std::max(largest, error);
  }
  return largest;
}

inline Suppression suppression_of(const nlohmann::json& expected) {
  Suppression suppression;
  suppression.kind = kind_of(expected["semantics"]);
  suppression.factor = expected["factor"];
  if (!expected["kappa"].is_null()) suppression.similarity_threshold = expected["kappa"];
  return suppression;
}

// Sums of squares over deltas, and over how far from them others are.
struct RelativeError {
  double squared_error = 0;
  double squared_value = 0;

  // `got` one for each target of each unit, in the order of `expected`.
  void add(const nlohmann::json& expected, const std::vector<float>& got) {
    auto one = got.begin();
    for (const auto& unit : expected) {
      for (const double delta : unit) {
        squared_error += (*one - delta) * (*one - delta);
        squared_value += delta * delta;
        ++one;
      }
    }
    EXPECT_EQ(one, got.end());
  }

  double root() const { return std::sqrt(squared_error / squared_value); }
};

// Of the deltas of all cases of a golden, as this arithmetic computes them.
inline double relative_error(
    const nlohmann::json& golden,
    const DecoderConfig& config,
    const DecoderWeights& weights,
    SweepCompute compute) {
  const Batch batch{0, {piece_of(golden)}};
  RelativeError error;
  for (const auto& expected : golden["cases"]) {
    SweepEngine engine(config, weights, suppression_of(expected), compute);
    error.add(expected["delta"], engine.run(batch).pieces.at(0).delta);
  }
  return error.root();
}

// Every folder of tests/data/golden.
inline std::vector<std::string> golden_folders() {
  std::vector<std::string> names;
  const std::filesystem::path golden = test_data() / "golden";
  for (const auto& entry : std::filesystem::directory_iterator(golden)) {
    if (entry.is_directory()) names.push_back(entry.path().filename().string());
  }
  std::ranges::sort(names);
  return names;
}

}  // namespace limn::test
