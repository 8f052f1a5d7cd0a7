#include "launch/merge_command.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "coordinator/job.h"
#include "launch/job_file.h"
#include "launch/result_path.h"
#include "storage/error.h"
#include "storage/json_file.h"
#include "storage/merge_files.h"
#include "storage/relevance_file.h"

namespace limn {

namespace {

namespace fs = std::filesystem;

// Of a person's arguments.
struct ShardResult {
  fs::path file;
  RelevanceAttributes attributes;
  Job job;
};

// Collects what is in the way, so that a person hears of all at once.
class Mistakes {
 public:
  void add(std::string line) { lines_.push_back(std::move(line)); }

  void throw_if_any() const {
    if (!lines_.empty()) throw DataError(fmt::format("{}", fmt::join(lines_, "\n")));
  }

 private:
  std::vector<std::string> lines_;
};

ShardResult read_shard_result(const fs::path& input) {
  const fs::path file = find_result(input);
  ShardResult result{file, RelevanceReader(file).attributes(), {}};
  if (!result.attributes.complete) {
    throw DataError(fmt::format("{}: not complete; run its job again to finish it", file.string()));
  }
  try {
    result.job = parse_job(result.attributes.job, file.string() + " (job)", {});
  } catch (const JobError& error) {
    throw DataError(fmt::format(
        "{}: its job is none of this version of limn; merge with the one that wrote it: {}",
        file.string(),
        error.what()));
  }
  return result;
}

// What the run directory around the file was begun with, if it is in one.
std::map<std::string, std::string> run_fingerprint_of(const fs::path& file) {
  const fs::path manifest = file.parent_path() / "manifest.json";
  std::error_code unreadable;
  if (!fs::exists(manifest, unreadable)) return {};
  const nlohmann::json document = read_json(manifest);
  const auto found = document.find("fingerprint");
  if (found == document.end()) return {};
  std::map<std::string, std::string> fingerprint;
  for (const auto& [key, value] : found->items()) {
    if (value.is_string()) fingerprint.emplace(key, value.get<std::string>());
  }
  return fingerprint;
}

// What must be the same of all shards, by name, as far as it is known.
std::map<std::string, std::string> identity_of(const ShardResult& result) {
  std::map<std::string, std::string> identity = run_fingerprint_of(result.file);
  // The dataset counts by its content, if that is known.
  if (!identity.contains("dataset")) identity["data.path"] = result.job.data.path.string();
  identity.merge(value_fingerprint(result.job));
  identity.erase("data.shard");
  identity["model"] = result.attributes.model;
  identity["dtype"] = result.attributes.dtype;
  identity["tensor_parallel"] = std::to_string(result.attributes.tensor_parallel);
  identity["software_version"] = result.attributes.software_version;
  identity["number of shards"] = std::to_string(result.job.data.shard.count);
  return identity;
}

void check_same_job(const std::vector<ShardResult>& results, Mistakes& mistakes) {
  const auto expected = identity_of(results.front());
  for (const ShardResult& result : results) {
    for (const auto& [name, value] : identity_of(result)) {
      const auto other = expected.find(name);
      if (other == expected.end() || value == other->second) continue;
      mistakes.add(fmt::format(
          "{}: of another {} than {}; merge shards of one dataset and job: {} and {}",
          result.file.string(),
          name,
          results.front().file.string(),
          value,
          other->second));
    }
  }
}

// "1, 4 and 37 more".
std::string numbers_text(const std::vector<std::int64_t>& numbers) {
  constexpr std::size_t kMost = 10;
  const std::vector<std::int64_t> first(
      numbers.begin(),
      numbers.begin() + static_cast<std::ptrdiff_t>(std::min(kMost, numbers.size())));
  const std::string text = fmt::format("{}", fmt::join(first, ", "));
  return numbers.size() <= kMost ? text
                                 : fmt::format("{} and {} more", text, numbers.size() - kMost);
}

// Requires: in the order of the shards, of the same number of them.
void check_every_shard_is_there(const std::vector<ShardResult>& results, Mistakes& mistakes) {
  const ShardResult* previous = nullptr;
  std::set<std::int64_t> found;
  for (const ShardResult& result : results) {
    const DataShard& shard = result.job.data.shard;
    if (!found.insert(shard.index).second) {
      mistakes.add(fmt::format(
          "{}: the same shard as {}; leave one of them out: {}/{}",
          result.file.string(),
          previous->file.string(),
          shard.index,
          shard.count));
    }
    previous = &result;
  }
  const std::int64_t count = results.front().job.data.shard.count;
  std::vector<std::int64_t> missing;
  for (std::int64_t index = 0; index < count; ++index) {
    if (!found.contains(index)) missing.push_back(index);
  }
  if (missing.empty()) return;
  mistakes.add(fmt::format(
      "{}: one of {} shards, but others are missing; give all of them: {}",
      results.front().file.string(),
      count,
      numbers_text(missing)));
}

std::vector<ShardResult> read_shard_results(const std::vector<fs::path>& inputs) {
  std::vector<ShardResult> results;
  Mistakes mistakes;
  for (const fs::path& input : inputs) {
    try {
      results.push_back(read_shard_result(input));
    } catch (const DataError& error) {
      mistakes.add(error.what());
    }
  }
  mistakes.throw_if_any();
  check_same_job(results, mistakes);
  mistakes.throw_if_any();
  std::ranges::stable_sort(
      results, {}, [](const ShardResult& result) { return result.job.data.shard.index; });
  check_every_shard_is_there(results, mistakes);
  mistakes.throw_if_any();
  return results;
}

void check_result_is_free(const fs::path& result, const std::vector<ShardResult>& results) {
  std::error_code unreadable;
  if (!fs::exists(result, unreadable)) return;
  for (const ShardResult& input : results) {
    if (!fs::equivalent(result, input.file, unreadable)) continue;
    throw UsageError(fmt::format(
        "limn merge: the first argument is the file to write, not one to read: {}",
        result.string()));
  }
  try {
    RelevanceReader{result};
  } catch (const DataError&) {
    throw UsageError(fmt::format(
        "limn merge: what is there is no relevance file and is not replaced; choose another name: "
        "{}",
        result.string()));
  }
}

// Of the job as it would have run without shards, in the folder where the result is.
RelevanceAttributes attributes_of_whole(const ShardResult& shard, const fs::path& result) {
  Job job = shard.job;
  job.data.shard = {};
  job.output.path = result.has_parent_path() ? result.parent_path() : fs::path(".");
  RelevanceAttributes attributes = shard.attributes;
  attributes.job = to_toml(job);
  return attributes;
}

}  // namespace

void merge(const MergeOptions& options, std::ostream& out) {
  const std::vector<ShardResult> results = read_shard_results(options.inputs);
  check_result_is_free(options.result, results);
  std::vector<fs::path> files;
  for (const ShardResult& result : results)
    files.push_back(result.file);
  const std::int64_t num_samples =
      merge_files(files, attributes_of_whole(results.front(), options.result), options.result);
  out << fmt::format(
      "{}: {} samples of {} shards\n", options.result.string(), num_samples, files.size());
}

}  // namespace limn
