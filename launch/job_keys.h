// The keys of the job file: one table, from which the reader, the flags, the help, the written job
// and the run's fingerprint are made.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "coordinator/job.h"

namespace limn {

// A value as TOML and flags give it.
using JobValue = std::variant<bool, std::int64_t, double, std::string, std::vector<std::string>>;

// A finite number; a whole number will do.
struct NumberRule {
  enum class Minimum { Included, Excluded };

  double minimum = 0;
  double maximum = std::numeric_limits<double>::infinity();
  Minimum minimum_is = Minimum::Included;
};

struct IntegerRule {
  std::int64_t minimum = 0;
  std::int64_t maximum = std::numeric_limits<std::int64_t>::max();
};

struct WordRule {
  // One that ends in ":N" ("auto:N") stands for all with a whole number of at least 1 there.
  std::span<const std::string_view> words;
  // Words of the job file's language that this version of limn cannot do yet: refused as such. One
  // that ends in a colon ("grid:") stands for all that begin with it.
  std::span<const std::string_view> unsupported = {};
};

struct SwitchRule {};

// A text that is not empty.
struct TextRule {};

// Texts that are not empty; a flag gives them with commas in between, and an empty list as nothing.
struct ListRule {};

// What parse_delimiter() takes, or nothing.
struct DelimiterRule {};

// "I/N": I counts N shards from 0.
struct ShardRule {};

// A path that is not empty. Keys of this kind have no default: they must be given.
struct PathRule {};

using KeyRule = std::variant<
    NumberRule,
    IntegerRule,
    WordRule,
    SwitchRule,
    TextRule,
    ListRule,
    DelimiterRule,
    ShardRule,
    PathRule>;

// Whether another value of the key can lead to other deltas or other batches.
enum class KeyEffect { AltersValues, Neutral };

struct JobKey {
  std::string_view name;  // "explain.factor"
  KeyEffect effect;
  KeyRule rule;
  std::string_view meaning;  // one line
  JobValue (*get)(const Job& job);
  // Requires: objection(rule, value) has none.
  void (*set)(Job& job, const JobValue& value);
};

// All keys, those of one table together, in the order in which they are written and explained.
std::span<const JobKey> job_keys();

// Null when there is no such key.
const JobKey* find_job_key(std::string_view name);

// The key that an unknown name most likely means: one of another table, as "explain.batch_tokens"
// and "batch_tokens" mean "parallel.batch_tokens", or a misspelt one.
std::optional<std::string_view> intended_key(std::string_view name);

// "explain" of "explain.factor".
std::string_view table_of(std::string_view key_name);

// "factor" of "explain.factor".
std::string_view key_in_table(std::string_view key_name);

// Whether a job without this key is incomplete.
bool is_required(const JobKey& key);

// What a value must be: "a number of at least 0", "auto or float32".
std::string expectation(const KeyRule& rule);

// What stands for a value in a usage line: "NUMBER".
std::string_view placeholder(const KeyRule& rule);

// The value that `text`, a flag's argument, stands for; nothing when it is not of the rule's type.
std::optional<JobValue> value_of_text(const KeyRule& rule, std::string_view text);

// What is wrong with the value: "must be a number of at least 0, not a string", "is not supported
// by this version, expected auto or float32". Nothing if it is fine.
std::optional<std::string> objection(const KeyRule& rule, const JobValue& value);

// The value as a person writes it, a string without quotes; numbers in the shortest form that reads
// back to the same number.
std::string value_text(const JobValue& value);

}  // namespace limn
