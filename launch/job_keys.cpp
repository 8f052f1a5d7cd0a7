#include "launch/job_keys.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <iterator>
#include <system_error>
#include <type_traits>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "coordinator/text_segments.h"
#include "storage/error.h"
#include "storage/nearest_name.h"

namespace limn {

namespace {

// The words of an enumeration, in the order of its enumerators.
template <typename Enum>
constexpr std::array<std::string_view, 0> kWordsOf = {};
template <>
constexpr std::array<std::string_view, 4> kWordsOf<SuppressionKind> = {
    "log_additive", "multiplicative", "shifted", "shifted_full"};
template <>
constexpr std::array<std::string_view, 8> kWordsOf<UnitKind> = {
    "token", "word", "sentence", "paragraph", "line", "delimiter", "auto:N", "given"};
template <>
constexpr std::array<std::string_view, 2> kWordsOf<UnitsOver> = {"prompt", "context"};
template <>
constexpr std::array<std::string_view, 2> kWordsOf<OnError> = {"fail", "skip"};
template <>
constexpr std::array<std::string_view, 3> kWordsOf<EvidenceKind> = {"answer", "sentence", "none"};
template <>
constexpr std::array<std::string_view, 2> kWordsOf<WeightPlacement> = {"resident", "streamed"};

constexpr std::array<std::string_view, 1> kLaterUnits = {"grid:"};
constexpr std::array<std::string_view, 4> kDtypes = {"auto", "float32", "bfloat16", "float16"};
constexpr std::array<std::string_view, 5> kComputes = {
    "auto", "float32", "bfloat16", "bfloat16_delta", "fp8_delta"};
constexpr std::array<std::string_view, 1> kLaterComputes = {"int8_delta"};
constexpr std::array<std::string_view, 2> kFormats = {"jsonl", "squad"};
constexpr std::array<std::string_view, 2> kTargets = {"given", "generate"};
constexpr std::array<std::string_view, 3> kDevices = {"auto", "cpu", "cuda"};

// The number that all of `text` is.
template <typename Number>
std::optional<Number> number_of(std::string_view text) {
  Number number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// "auto:" of "auto:N"; nothing of a word without a number.
std::optional<std::string_view> before_number(std::string_view word) {
  if (!word.ends_with(":N")) return std::nullopt;
  return word.substr(0, word.size() - 1);
}

// 8 of "auto:8", if `word` is "auto:N".
std::optional<std::int64_t> number_in(std::string_view written, std::string_view word) {
  const std::optional<std::string_view> before = before_number(word);
  if (!before || !written.starts_with(*before)) return std::nullopt;
  const auto number = number_of<std::int64_t>(written.substr(before->size()));
  return number && *number >= 1 ? number : std::nullopt;
}

// 2 and 8 of "2/8".
std::optional<DataShard> shard_of(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const auto index = number_of<std::int64_t>(text.substr(0, slash));
  const auto count = number_of<std::int64_t>(text.substr(slash + 1));
  if (!index || !count || *index < 0 || *index >= *count) return std::nullopt;
  return DataShard{.index = *index, .count = *count};
}

// From a member of Job to a value.

JobValue to_value(bool member) {
  return member;
}

JobValue to_value(int member) {
  return std::int64_t{member};
}

JobValue to_value(std::int64_t member) {
  return member;
}

JobValue to_value(double member) {
  return member;
}

JobValue to_value(const std::string& member) {
  return member;
}

JobValue to_value(const std::vector<std::string>& member) {
  return member;
}

JobValue to_value(const std::filesystem::path& member) {
  return member.string();
}

JobValue to_value(const DataShard& member) {
  return fmt::format("{}/{}", member.index, member.count);
}

template <typename Enum>

requires std::is_enum_v<Enum> JobValue to_value(Enum member) {
  return std::string(kWordsOf<Enum>.at(static_cast<std::size_t>(member)));
}

// From a value, already checked, to a member of Job.

void assign(bool& member, const JobValue& value) {
  member = std::get<bool>(value);
}

void assign(int& member, const JobValue& value) {
  member = static_cast<int>(std::get<std::int64_t>(value));
}

void assign(std::int64_t& member, const JobValue& value) {
  member = std::get<std::int64_t>(value);
}

void assign(double& member, const JobValue& value) {
  const auto* whole = std::get_if<std::int64_t>(&value);
  member = whole ? static_cast<double>(*whole) : std::get<double>(value);
}

void assign(std::string& member, const JobValue& value) {
  member = std::get<std::string>(value);
}

void assign(std::vector<std::string>& member, const JobValue& value) {
  member = std::get<std::vector<std::string>>(value);
}

void assign(std::filesystem::path& member, const JobValue& value) {
  member = std::get<std::string>(value);
}

void assign(DataShard& member, const JobValue& value) {
  const std::optional<DataShard> shard = shard_of(std::get<std::string>(value));
  check(shard.has_value(), "a job value was not checked: {}", std::get<std::string>(value));
  member = *shard;
}

template <typename Enum>
requires std::is_enum_v<Enum>

void assign(Enum& member, const JobValue& value) {
  const auto& words = kWordsOf<Enum>;
  const auto word = std::find(words.begin(), words.end(), std::get<std::string>(value));
  check(word != words.end(), "a job value was not checked: {}", std::get<std::string>(value));
  member = static_cast<Enum>(std::distance(words.begin(), word));
}

// The kind of the units, and with it how many there are.
constexpr std::string_view kAutoUnits =
    kWordsOf<UnitKind>[static_cast<std::size_t>(UnitKind::Auto)];

JobValue get_units(const Job& job) {
  if (job.explain.units != UnitKind::Auto) return to_value(job.explain.units);
  return fmt::format("{}{}", before_number(kAutoUnits).value(), job.explain.num_pieces);
}

void set_units(Job& job, const JobValue& value) {
  if (const auto number = number_in(std::get<std::string>(value), kAutoUnits)) {
    job.explain.units = UnitKind::Auto;
    job.explain.num_pieces = *number;
  } else {
    assign(job.explain.units, value);
  }
}

template <auto... Members>
JobValue get(const Job& job) {
  return to_value((job.*....*Members));
}

template <auto... Members>
void set(Job& job, const JobValue& value) {
  assign((job.*....*Members), value);
}

// A row of the table; `Members` lead from Job to where the value is kept.
template <auto... Members>
constexpr JobKey key(
    std::string_view name, KeyEffect effect, KeyRule rule, std::string_view meaning) {
  return {name, effect, rule, meaning, &get<Members...>, &set<Members...>};
}

// The paths of model and data are neutral: what counts is what they lead to, which the run
// fingerprints by its content.
constexpr std::array kJobKeys = {
    key<&Job::model, &ModelOptions::path>(
        "model.path",
        KeyEffect::Neutral,
        PathRule{},
        "the model: a Hugging Face folder with config.json, weights, tokenizer.json"),
    key<&Job::model, &ModelOptions::dtype>(
        "model.dtype",
        KeyEffect::AltersValues,
        WordRule{kDtypes, {}},
        "type of the weights in memory; auto: as they are stored"),
    key<&Job::model, &ModelOptions::compute>(
        "model.compute",
        KeyEffect::AltersValues,
        WordRule{kComputes, kLaterComputes},
        "arithmetic of the sweep; auto: bfloat16_delta where the checkpoint is bfloat16, else "
        "float32"),
    key<&Job::model, &ModelOptions::placement>(
        "model.placement",
        KeyEffect::Neutral,
        WordRule{kWordsOf<WeightPlacement>},
        "streamed: layers are read anew for every sweep, for models larger than memory"),
    key<&Job::data, &DataOptions::path>(
        "data.path",
        KeyEffect::Neutral,
        PathRule{},
        "the dataset to explain: a file, or a folder of files, or a pattern "
        "(\"shards/*.jsonl.gz\")"),
    key<&Job::data, &DataOptions::format>(
        "data.format",
        KeyEffect::AltersValues,
        WordRule{kFormats},
        "format of the dataset: JSON Lines, or SQuAD's JSON, versions 1.1 and 2.0"),
    key<&Job::data, &DataOptions::limit>(
        "data.limit",
        KeyEffect::AltersValues,
        IntegerRule{.minimum = 0},
        "explain only the first so many samples; 0: all"),
    key<&Job::data, &DataOptions::skip>(
        "data.skip",
        KeyEffect::AltersValues,
        IntegerRule{.minimum = 0},
        "pass over so many records first"),
    key<&Job::data, &DataOptions::sample_ids>(
        "data.sample_ids",
        KeyEffect::AltersValues,
        ListRule{},
        "explain only the records of these ids; none: all"),
    key<&Job::data, &DataOptions::shard>(
        "data.shard",
        KeyEffect::AltersValues,
        ShardRule{},
        "explain only shard I of N, I from 0, of the records that skip, limit and sample_ids "
        "leave; `limn merge` puts the results together"),
    key<&Job::data, &DataOptions::on_error>(
        "data.on_error",
        KeyEffect::AltersValues,
        WordRule{kWordsOf<OnError>},
        "what a record that cannot be read or explained does: end the run, or become a skipped "
        "sample"),
    key<&Job::data, &DataOptions::prompt_template>(
        "data.template",
        KeyEffect::AltersValues,
        TextRule{},
        "the prompt of a question of SQuAD's; also {title}"),
    key<&Job::data, &DataOptions::evidence>(
        "data.evidence",
        KeyEffect::AltersValues,
        WordRule{kWordsOf<EvidenceKind>},
        "the evidence of a question of SQuAD's: the answer in the context, or its sentence"),
    key<&Job::explain, &ExplainOptions::suppression, &Suppression::kind>(
        "explain.suppression",
        KeyEffect::AltersValues,
        WordRule{kWordsOf<SuppressionKind>},
        "how the attention to a unit is suppressed"),
    key<&Job::explain, &ExplainOptions::suppression, &Suppression::factor>(
        "explain.factor",
        KeyEffect::AltersValues,
        NumberRule{.minimum = 0},
        "what is left of the attention: 0 hides the unit, above 1 amplifies it"),
    key<&Job::explain, &ExplainOptions::suppression, &Suppression::similarity_threshold>(
        "explain.similarity_threshold",
        KeyEffect::AltersValues,
        NumberRule{.minimum = 0, .maximum = 1},
        "suppress tokens this similar to the unit, too; 0: off"),
    key<&Job::explain, &ExplainOptions::suppression, &Suppression::spare_first_token>(
        "explain.spare_first_token",
        KeyEffect::AltersValues,
        SwitchRule{},
        "never suppress position 0"),
    JobKey{
        "explain.units",
        KeyEffect::AltersValues,
        WordRule{kWordsOf<UnitKind>, kLaterUnits},
        "what gets a relevance; auto:N: N pieces of about equal size; given: what the dataset "
        "names",
        &get_units,
        &set_units},
    key<&Job::explain, &ExplainOptions::delimiter>(
        "explain.delimiter",
        KeyEffect::AltersValues,
        DelimiterRule{},
        "what lies between the units with explain.units delimiter"),
    key<&Job::explain, &ExplainOptions::units_over>(
        "explain.units_over",
        KeyEffect::AltersValues,
        WordRule{kWordsOf<UnitsOver>},
        "which part of the prompt has units; context: what the dataset names so"),
    key<&Job::explain, &ExplainOptions::include_target>(
        "explain.include_target",
        KeyEffect::AltersValues,
        SwitchRule{},
        "every token of the target is a unit, too"),
    key<&Job::explain, &ExplainOptions::target>(
        "explain.target",
        KeyEffect::AltersValues,
        WordRule{kTargets, {}},
        "which answer is explained; given: the dataset's; generate: the model's own"),
    key<&Job::explain, &ExplainOptions::max_new_tokens>(
        "explain.max_new_tokens",
        KeyEffect::AltersValues,
        IntegerRule{.minimum = 1},
        "longest answer, in tokens, where the model generates it"),
    key<&Job::parallel, &ParallelOptions::tensor_parallel>(
        "parallel.tensor_parallel",
        KeyEffect::AltersValues,
        IntegerRule{.minimum = 1, .maximum = std::numeric_limits<int>::max()},
        "ranks that hold one copy of the model together"),
    key<&Job::parallel, &ParallelOptions::batch_tokens>(
        "parallel.batch_tokens",
        KeyEffect::AltersValues,
        IntegerRule{.minimum = 1},
        "rows of one sweep: more is faster and needs more memory"),
    key<&Job::parallel, &ParallelOptions::device>(
        "parallel.device",
        KeyEffect::Neutral,
        WordRule{kDevices, {}},
        "where the model runs; auto: on GPUs if there are any"),
    key<&Job::parallel, &ParallelOptions::timeout_s>(
        "parallel.timeout_s",
        KeyEffect::Neutral,
        NumberRule{.minimum = 0, .minimum_is = NumberRule::Minimum::Excluded},
        "seconds a rank waits for another one before the run ends, naming it"),
    key<&Job::checkpoint, &CheckpointOptions::interval_s>(
        "checkpoint.interval_s",
        KeyEffect::Neutral,
        NumberRule{.minimum = 0, .minimum_is = NumberRule::Minimum::Excluded},
        "seconds between two sealed parts: at most so much work is lost by a kill"),
    key<&Job::output, &OutputOptions::path>(
        "output.path",
        KeyEffect::Neutral,
        PathRule{},
        "the run directory: made, or continued if it is there"),
};

// "a, b or c".
std::string alternatives(std::span<const std::string_view> words) {
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i > 0) text += i + 1 == words.size() ? " or " : ", ";
    text += words[i];
  }
  return text;
}

std::string expectation_of(const NumberRule& rule) {
  if (std::isfinite(rule.maximum))
    return fmt::format("a number from {} to {}", rule.minimum, rule.maximum);
  if (rule.minimum_is == NumberRule::Minimum::Excluded)
    return fmt::format("a number greater than {}", rule.minimum);
  return fmt::format("a number of at least {}", rule.minimum);
}

std::string expectation_of(const IntegerRule& rule) {
  return fmt::format("a whole number of at least {}", rule.minimum);
}

std::string expectation_of(const WordRule& rule) {
  return alternatives(rule.words);
}

std::string expectation_of(const SwitchRule&) {
  return "true or false";
}

std::string expectation_of(const TextRule&) {
  return "a text";
}

std::string expectation_of(const ListRule&) {
  return "a list of strings";
}

std::string expectation_of(const DelimiterRule&) {
  return "a string, or a regular expression between slashes";
}

std::string expectation_of(const ShardRule&) {
  return "I/N, I a whole number from 0 to N - 1";
}

std::string expectation_of(const PathRule&) {
  return "a path";
}

std::string_view placeholder_of(const NumberRule&) {
  return "NUMBER";
}

std::string_view placeholder_of(const IntegerRule&) {
  return "INTEGER";
}

std::string_view placeholder_of(const WordRule&) {
  return "WORD";
}

std::string_view placeholder_of(const SwitchRule&) {
  return "true|false";
}

std::string_view placeholder_of(const TextRule&) {
  return "TEXT";
}

std::string_view placeholder_of(const ListRule&) {
  return "A,B,...";
}

std::string_view placeholder_of(const DelimiterRule&) {
  return "STRING|/REGEX/";
}

std::string_view placeholder_of(const ShardRule&) {
  return "I/N";
}

std::string_view placeholder_of(const PathRule&) {
  return "PATH";
}

std::optional<JobValue> parsed(const NumberRule&, std::string_view text) {
  return number_of<double>(text);
}

std::optional<JobValue> parsed(const IntegerRule&, std::string_view text) {
  return number_of<std::int64_t>(text);
}

std::optional<JobValue> parsed(const SwitchRule&, std::string_view text) {
  if (text == "true") return true;
  if (text == "false") return false;
  return std::nullopt;
}

std::optional<JobValue> parsed(const WordRule&, std::string_view text) {
  return std::string(text);
}

std::optional<JobValue> parsed(const TextRule&, std::string_view text) {
  return std::string(text);
}

std::optional<JobValue> parsed(const ListRule&, std::string_view text) {
  std::vector<std::string> list;
  while (!text.empty()) {
    const std::string_view element = text.substr(0, text.find(','));
    list.emplace_back(element);
    text.remove_prefix(std::min(text.size(), element.size() + 1));
  }
  return list;
}

std::optional<JobValue> parsed(const DelimiterRule&, std::string_view text) {
  return std::string(text);
}

std::optional<JobValue> parsed(const ShardRule&, std::string_view text) {
  return std::string(text);
}

std::optional<JobValue> parsed(const PathRule&, std::string_view text) {
  return std::string(text);
}

constexpr std::array<std::string_view, std::variant_size_v<JobValue>> kValueTypes = {
    "true or false", "a whole number", "a number with a fraction", "a string", "a list of strings"};

std::string wrong_type(const KeyRule& rule, const JobValue& value) {
  return fmt::format("must be {}, not {}", expectation(rule), kValueTypes.at(value.index()));
}

std::optional<std::string> must_be(const KeyRule& rule) {
  return fmt::format("must be {}", expectation(rule));
}

std::optional<std::string> objection_to(const NumberRule& rule, const JobValue& value) {
  const bool is_number =
      std::holds_alternative<double>(value) || std::holds_alternative<std::int64_t>(value);
  if (!is_number) return wrong_type(rule, value);
  double number = 0;
  assign(number, value);
  const bool above_minimum = rule.minimum_is == NumberRule::Minimum::Excluded
                                 ? number > rule.minimum
                                 : number >= rule.minimum;
  if (std::isfinite(number) && above_minimum && number <= rule.maximum) return std::nullopt;
  return must_be(rule);
}

std::optional<std::string> objection_to(const IntegerRule& rule, const JobValue& value) {
  const auto* number = std::get_if<std::int64_t>(&value);
  if (!number) return wrong_type(rule, value);
  if (*number < rule.minimum) return must_be(rule);
  if (*number > rule.maximum) return fmt::format("must be at most {}", rule.maximum);
  return std::nullopt;
}

std::optional<std::string> objection_to(const WordRule& rule, const JobValue& value) {
  const auto* word = std::get_if<std::string>(&value);
  if (!word) return wrong_type(rule, value);
  const auto allows = [&](std::string_view allowed) {
    return before_number(allowed) ? number_in(*word, allowed).has_value() : *word == allowed;
  };
  if (std::any_of(rule.words.begin(), rule.words.end(), allows)) return std::nullopt;
  for (const std::string_view allowed : rule.words) {
    const std::optional<std::string_view> before = before_number(allowed);
    if (before && word->starts_with(*before))
      return fmt::format("must be {}, N a whole number of at least 1", expectation(rule));
  }

  const auto names_word = [&](std::string_view unsupported) {
    return unsupported.ends_with(':') ? word->starts_with(unsupported) : *word == unsupported;
  };
  if (std::any_of(rule.unsupported.begin(), rule.unsupported.end(), names_word))
    return fmt::format("is not supported by this version, expected {}", expectation(rule));

  const std::optional<std::string_view> nearest = nearest_name(*word, rule.words);
  if (nearest) return fmt::format("must be {}, did you mean {}", expectation(rule), *nearest);
  return must_be(rule);
}

std::optional<std::string> objection_to(const SwitchRule& rule, const JobValue& value) {
  if (!std::holds_alternative<bool>(value)) return wrong_type(rule, value);
  return std::nullopt;
}

std::optional<std::string> objection_to(const TextRule& rule, const JobValue& value) {
  const auto* text = std::get_if<std::string>(&value);
  if (!text) return wrong_type(rule, value);
  if (text->empty()) return "must not be empty";
  return std::nullopt;
}

std::optional<std::string> objection_to(const ListRule& rule, const JobValue& value) {
  const auto* list = std::get_if<std::vector<std::string>>(&value);
  if (!list) return wrong_type(rule, value);
  if (std::find(list->begin(), list->end(), "") != list->end()) return "must have no empty string";
  return std::nullopt;
}

std::optional<std::string> objection_to(const DelimiterRule& rule, const JobValue& value) {
  const auto* delimiter = std::get_if<std::string>(&value);
  if (!delimiter) return wrong_type(rule, value);
  if (delimiter->empty()) return std::nullopt;
  try {
    parse_delimiter(*delimiter);
  } catch (const DataError& error) {
    return fmt::format("must be {}; {}", expectation(rule), error.what());
  }
  return std::nullopt;
}

std::optional<std::string> objection_to(const ShardRule& rule, const JobValue& value) {
  const auto* shard = std::get_if<std::string>(&value);
  if (!shard) return wrong_type(rule, value);
  if (!shard_of(*shard)) return must_be(rule);
  return std::nullopt;
}

std::optional<std::string> objection_to(const PathRule& rule, const JobValue& value) {
  const auto* path = std::get_if<std::string>(&value);
  if (!path) return wrong_type(rule, value);
  if (path->empty()) return "must not be empty";
  return std::nullopt;
}

// A number with a fraction keeps its point: it reads back as one.
std::string text_of(double number) {
  std::string text = fmt::format("{}", number);
  if (text.find_first_of(".en") == std::string::npos) text += ".0";
  return text;
}

std::string text_of(std::int64_t number) {
  return fmt::format("{}", number);
}

std::string text_of(bool is_on) {
  return is_on ? "true" : "false";
}

std::string text_of(const std::string& text) {
  return text;
}

std::string text_of(const std::vector<std::string>& list) {
  return fmt::format("{}", list);  // ["a", "b"]
}

}  // namespace

std::span<const JobKey> job_keys() {
  return kJobKeys;
}

const JobKey* find_job_key(std::string_view name) {
  const auto found = std::find_if(
      kJobKeys.begin(), kJobKeys.end(), [&](const JobKey& key) { return key.name == name; });
  return found == kJobKeys.end() ? nullptr : &*found;
}

std::string_view table_of(std::string_view key_name) {
  return key_name.substr(0, key_name.find('.'));
}

std::string_view key_in_table(std::string_view key_name) {
  return key_name.substr(key_name.find('.') + 1);
}

std::optional<std::string_view> intended_key(std::string_view name) {
  std::vector<std::string_view> names;
  for (const JobKey& key : kJobKeys) {
    if (key_in_table(key.name) == key_in_table(name)) return key.name;
    names.push_back(key.name);
  }
  return nearest_name(name, names);
}

bool is_required(const JobKey& key) {
  return std::holds_alternative<PathRule>(key.rule);
}

std::string expectation(const KeyRule& rule) {
  return std::visit([](const auto& alternative) { return expectation_of(alternative); }, rule);
}

std::string_view placeholder(const KeyRule& rule) {
  return std::visit([](const auto& alternative) { return placeholder_of(alternative); }, rule);
}

std::optional<JobValue> value_of_text(const KeyRule& rule, std::string_view text) {
  return std::visit([&](const auto& alternative) { return parsed(alternative, text); }, rule);
}

std::optional<std::string> objection(const KeyRule& rule, const JobValue& value) {
  return std::visit(
      [&](const auto& alternative) { return objection_to(alternative, value); }, rule);
}

std::string value_text(const JobValue& value) {
  return std::visit([](const auto& alternative) { return text_of(alternative); }, value);
}

}  // namespace limn
