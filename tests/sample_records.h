// Sample records for tests of the storage: drawn from a seed, or small enough to read.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>

#include "storage/relevance_file.h"
#include "storage/sample_record.h"

namespace limn::test {

inline constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

inline RelevanceAttributes example_attributes() {
  return {
      .complete = true,
      .job = "[explain]\nsuppression = \"log_additive\"\n",
      .model = "xxh3:00c0ffee",
      .software_version = "0.1.0",
      .tensor_parallel = 2,
      .dtype = "float32"};
}

// The worked example of docs/relevance-file.md.
inline SampleRecord example_record() {
  SampleRecord record;
  record.id = "caf\xC3\xA9";
  record.text = "Ada met Bo. Who? Bo";
  record.tokens = {{1, {}}, {37, {0, 3}}, {52, {3, 7}}, {11, {7, 11}}, {9, {11, 16}}, {11, {16, 19}}};
  record.units = {{{0, 11}, {}, {1, 2, 3}}, {{12, 16}, {}, {4}}};
  record.targets = {{5, 11, -0.5F}};
  record.delta = {2.25F, 0.125F};
  record.evidence = {{{0, 11}, {}}};
  return record;
}

// A record with some of everything, from nothing to a few of each.
inline SampleRecord random_record(std::mt19937_64& random) {
  const auto below = [&](std::int32_t limit) {
    return static_cast<std::int32_t>(random() % static_cast<std::uint64_t>(limit));
  };
  SampleRecord record;
  record.id = "sample-" + std::to_string(random() % 100000);
  record.text = std::string(static_cast<std::size_t>(below(60)), 'x');
  const std::int32_t num_tokens = 1 + below(20);
  for (std::int32_t i = 0; i < num_tokens; ++i) record.tokens.push_back({below(32000), {i, i + 1}});
  const std::int32_t num_units = below(6);
  for (std::int32_t i = 0; i < num_units; ++i) {
    UnitRecord unit{{i, i + 2}, {i, 0, i + 8, 8}, {}};
    for (std::int32_t token = below(3); token < num_tokens; token += 1 + below(4)) {
      unit.tokens.push_back(token);
    }
    record.units.push_back(unit);
  }
  const std::int32_t num_targets = below(4);
  for (std::int32_t i = 0; i < num_targets; ++i) {
    record.targets.push_back({below(num_tokens), below(32000), -0.25F * static_cast<float>(below(40))});
  }
  for (std::int32_t i = 0; i < num_units * num_targets; ++i) {
    record.delta.push_back(static_cast<float>(below(1000)) / 128.0F - 2.0F);
  }
  if (below(2) == 1) record.evidence.push_back({{below(10), 10 + below(10)}, {}});
  if (below(5) == 0) {
    record.status = SampleStatus::Failed;
    record.message = "the sequence is longer than the model allows";
  }
  return record;
}

inline bool same_float(float left, float right) {
  return left == right || (std::isnan(left) && std::isnan(right));
}

// Equal in every field; a missing value equals a missing value.
inline bool same_record(const SampleRecord& left, const SampleRecord& right) {
  const auto same_target = [](const TargetRecord& a, const TargetRecord& b) {
    return a.position == b.position && a.token == b.token && same_float(a.log_prob, b.log_prob);
  };
  return left.id == right.id && left.status == right.status && left.message == right.message &&
         left.text == right.text && left.tokens == right.tokens && left.units == right.units &&
         std::equal(
             left.targets.begin(),
             left.targets.end(),
             right.targets.begin(),
             right.targets.end(),
             same_target) &&
         std::equal(
             left.delta.begin(),
             left.delta.end(),
             right.delta.begin(),
             right.delta.end(),
             same_float) &&
         left.evidence == right.evidence;
}

}  // namespace limn::test
