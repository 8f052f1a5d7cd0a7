#include "launch/job_file.h"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <system_error>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <toml++/toml.h>

#include "launch/job_keys.h"
#include "launch/visible_text.h"
#include "storage/error.h"
#include "storage/nearest_name.h"

namespace limn {

namespace {

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  // A directory can be opened, but not read; an empty file can be read, but has nothing to insert.
  const bool is_empty = file.peek() == std::ifstream::traits_type::eof();
  if (!file.is_open() || file.bad()) {
    throw IoError(fmt::format(
        "{}: cannot read the job file: {}", path.string(), std::generic_category().message(errno)));
  }
  if (!is_empty) text << file.rdbuf();
  return text.str();
}

bool is_table(std::string_view name) {
  return std::any_of(job_keys().begin(), job_keys().end(), [&](const JobKey& key) {
    return table_of(key.name) == name;
  });
}

std::optional<std::string_view> intended_table(std::string_view name) {
  std::vector<std::string_view> names;
  for (const JobKey& key : job_keys())
    names.push_back(table_of(key.name));
  return nearest_name(name, names);
}

std::string toml_text(const toml::node& node) {
  std::ostringstream text;
  node.visit([&](const auto& typed) { text << typed; });
  return text.str();
}

// A string without its quotes, all else as TOML.
std::string text_of(const toml::node& node) {
  const auto* text = node.as_string();
  return visible_line(text ? text->get() : toml_text(node));
}

// Nothing when an element is neither a string nor a whole number, which is taken as text.
std::optional<JobValue> texts_of(const toml::array& list) {
  std::vector<std::string> texts;
  for (const toml::node& element : list) {
    if (!element.is_string() && !element.is_integer()) return std::nullopt;
    texts.push_back(element.is_string() ? element.as_string()->get() : toml_text(element));
  }
  return texts;
}

// Nothing when a node is a date, a table or a list of such, which no key wants.
std::optional<JobValue> value_of(const toml::node& node) {
  if (const auto* is_on = node.as_boolean()) return is_on->get();
  if (const auto* whole = node.as_integer()) return whole->get();
  if (const auto* number = node.as_floating_point()) return number->get();
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* list = node.as_array()) return texts_of(*list);
  return std::nullopt;
}

// Makes a job of a parsed file and of flags, and collects what is wrong with them.
class JobReader {
 public:
  explicit JobReader(std::string_view where) : where_(where) {}

  void read(const toml::table& file) {
    for (const auto& [key, node] : file)
      read_table(key, node);
  }

  void read(const JobOverride& flag) {
    const JobKey* key = find_job_key(flag.key);
    check(key != nullptr, "a flag for a key that there is not: {}", flag.key);
    const std::optional<std::string> wrong = set(*key, value_of_text(key->rule, flag.value));
    if (wrong) add_mistake(fmt::format("--{} {}: {}", key->name, *wrong, visible_line(flag.value)));
  }

  // Throws JobError when there was any mistake or a key is missing.
  Job finish() {
    for (const JobKey* key : missing_) {
      add_mistake(fmt::format(
          "{}: {} is missing; set it in [{}] or with --{}",
          where_,
          key->name,
          table_of(key->name),
          key->name));
    }
    if (mistakes_.empty()) check_units();
    if (mistakes_.empty()) return job_;
    std::vector<std::string> texts;
    for (const auto& [line, text] : mistakes_)
      texts.push_back(text);
    throw JobError(fmt::format("{}", fmt::join(texts, "\n")));
  }

 private:
  // What is not in the file comes after all that is.
  static constexpr std::int64_t kAfterTheFile = std::numeric_limits<std::int64_t>::max();

  static std::vector<const JobKey*> required_keys() {
    std::vector<const JobKey*> keys;
    for (const JobKey& key : job_keys())
      if (is_required(key)) keys.push_back(&key);
    return keys;
  }

  // What explain.units asks of the keys beside it.
  void check_units() {
    const ExplainOptions& explain = job_.explain;
    if (explain.units == UnitKind::Delimiter && explain.delimiter.empty()) {
      add_mistake(fmt::format(
          "{}: explain.units is delimiter and explain.delimiter is missing; set it in [explain] or "
          "with --explain.delimiter",
          where_));
    }
    if (explain.units == UnitKind::Given && explain.units_over == UnitsOver::Context) {
      add_mistake(fmt::format(
          "{}: explain.units_over must be prompt where explain.units is given: records say "
          "themselves where their units are: context",
          where_));
    }
  }

  void add_mistake(std::string text) { mistakes_.emplace(kAfterTheFile, std::move(text)); }

  void add_mistake(const toml::source_region& source, std::string_view text) {
    const std::int64_t line = source.begin.line;
    mistakes_.emplace(line, fmt::format("{}:{}: {}", where_, line, text));
  }

  // Makes the value the job's or, if it is of no type that a key has (nothing) or not allowed, says
  // what is wrong with it.
  std::optional<std::string> set(const JobKey& key, const std::optional<JobValue>& value) {
    std::erase(missing_, &key);
    if (!value) return fmt::format("must be {}", expectation(key.rule));
    std::optional<std::string> wrong = objection(key.rule, *value);
    if (!wrong) key.set(job_, *value);
    return wrong;
  }

  void read_table(const toml::key& name, const toml::node& node) {
    if (!is_table(name.str())) return refuse_unknown_name(name, node);
    const toml::table* table = node.as_table();
    if (!table) {
      return add_mistake(
          name.source(),
          fmt::format("{} must be a table, [{}]: {}", name.str(), name.str(), text_of(node)));
    }
    for (const auto& [key, value] : *table)
      read_key(fmt::format("{}.{}", name.str(), key.str()), key, value);
  }

  void read_key(std::string_view name, const toml::key& written, const toml::node& node) {
    const JobKey* key = find_job_key(name);
    if (!key) return refuse_unknown_key(name, written);
    const std::optional<std::string> wrong = set(*key, value_of(node));
    if (wrong) add_mistake(written.source(), fmt::format("{} {}: {}", name, *wrong, text_of(node)));
  }

  void refuse_unknown_name(const toml::key& name, const toml::node& node) {
    if (!node.is_table()) return refuse_unknown_key(name.str(), name);
    const std::string written = visible_line(name.str());
    const std::optional<std::string_view> intended = intended_table(name.str());
    add_mistake(
        name.source(),
        intended ? fmt::format("unknown table, did you mean [{}]: [{}]", *intended, written)
                 : fmt::format("unknown table: [{}]", written));
  }

  void refuse_unknown_key(std::string_view name, const toml::key& key) {
    const std::string written = visible_line(name);
    const std::optional<std::string_view> intended = intended_key(name);
    add_mistake(
        key.source(),
        intended ? fmt::format("unknown key, did you mean {}: {}", *intended, written)
                 : fmt::format("unknown key: {}", written));
  }

  std::string where_;
  Job job_;
  std::vector<const JobKey*> missing_ = required_keys();
  // By line: TOML's tables are sorted by name, but a person reads from top to bottom.
  std::multimap<std::int64_t, std::string> mistakes_;
};

toml::table parse_toml(std::string_view toml, std::string_view where) {
  try {
    return toml::parse(toml, where);
  } catch (const toml::parse_error& error) {
    const toml::source_position& at = error.source().begin;
    throw JobError(fmt::format(
        "{}:{}:{}: not TOML: {}", where, at.line, at.column, visible_line(error.description())));
  }
}

// Always in "quotes", and on one line.
std::string quoted_text(const std::string& text) {
  const toml::value<std::string> string(text);
  std::ostringstream quoted;
  quoted << toml::toml_formatter(string, toml::format_flags::none);
  return quoted.str();
}

std::string toml_text(const JobValue& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return quoted_text(*text);
  if (const auto* list = std::get_if<std::vector<std::string>>(&value)) {
    std::vector<std::string> quoted;
    for (const std::string& text : *list)
      quoted.push_back(quoted_text(text));
    return fmt::format("[{}]", fmt::join(quoted, ", "));
  }
  return value_text(value);
}

}  // namespace

Job read_job(const std::filesystem::path& path, std::span<const JobOverride> overrides) {
  return parse_job(read_text(path), path.string(), overrides);
}

Job parse_job(
    std::string_view toml, std::string_view where, std::span<const JobOverride> overrides) {
  JobReader reader(where);
  reader.read(parse_toml(toml, where));
  for (const JobOverride& flag : overrides)
    reader.read(flag);
  return reader.finish();
}

std::string to_toml(const Job& job) {
  std::string toml;
  std::string_view table;
  for (const JobKey& key : job_keys()) {
    if (table_of(key.name) != table) {
      table = table_of(key.name);
      toml += fmt::format("[{}]\n", table);
    }
    toml += fmt::format("{} = {}\n", key_in_table(key.name), toml_text(key.get(job)));
  }
  return toml;
}

std::map<std::string, std::string> value_fingerprint(const Job& job) {
  std::map<std::string, std::string> fingerprint;
  for (const JobKey& key : job_keys()) {
    if (key.effect == KeyEffect::AltersValues)
      fingerprint.emplace(key.name, value_text(key.get(job)));
  }
  return fingerprint;
}

}  // namespace limn
