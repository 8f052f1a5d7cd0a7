#include "coordinator/dataset_shard.h"

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "coordinator/dataset.h"
#include "storage/error.h"

namespace limn {

namespace {

// Records of a dataset, by their places among those that skip and limit leave.
struct WantedRecords {
  std::int64_t num_records = 0;  // wanted or not
  // Where data.sample_ids are given: those of the wanted ones, in the dataset's order.
  std::vector<std::int64_t> places;
  std::vector<std::string> ids;
};

WantedRecords find_wanted_records(const DataOptions& options) {
  const std::unordered_set<std::string> wanted_ids(
      options.sample_ids.begin(), options.sample_ids.end());
  WantedRecords wanted;
  // No record is looked into here, so that it does not matter where the targets come from.
  DatasetReader reader(options);
  while (const std::optional<DatasetEntry> entry = reader.next_entry()) {
    ++wanted.num_records;
    if (wanted_ids.empty()) continue;
    std::string id = reader.id_of(*entry);
    if (!wanted_ids.contains(id)) continue;
    wanted.places.push_back(entry->index);
    wanted.ids.push_back(std::move(id));
  }
  return wanted;
}

void check_all_ids_are_there(const DataOptions& options, const WantedRecords& wanted) {
  const std::unordered_set<std::string> found(wanted.ids.begin(), wanted.ids.end());
  std::vector<std::string> mistakes;
  for (const std::string& id : options.sample_ids) {
    if (found.contains(id)) continue;
    mistakes.push_back(fmt::format(
        "{}: no record has this id; check data.sample_ids: {}", options.path.string(), id));
  }
  if (!mistakes.empty()) throw DataError(fmt::format("{}", fmt::join(mistakes, "\n")));
}

// floor(index * num_records / count), whose product need not fit into 64 bits.
std::int64_t cut_before(std::int64_t index, std::int64_t count, std::int64_t num_records) {
  return num_records / count * index + num_records % count * index / count;
}

}  // namespace

DataOptions find_shard(const DataOptions& options) {
  const DataShard shard = options.shard;
  if (shard.count == 1) return options;
  DataOptions found = options;
  found.shard = {};
  const WantedRecords wanted = find_wanted_records(found);
  check_all_ids_are_there(options, wanted);

  const bool are_named = !options.sample_ids.empty();
  const std::int64_t num_wanted =
      are_named ? static_cast<std::int64_t>(wanted.places.size()) : wanted.num_records;
  if (num_wanted < shard.count) {
    throw DataError(fmt::format(
        "{}: fewer records than shards; cut the dataset into at most as many as it has records, "
        "data.shard: {} records, {} shards",
        options.path.string(),
        num_wanted,
        shard.count));
  }
  const std::int64_t begin = cut_before(shard.index, shard.count, num_wanted);
  const std::int64_t end = cut_before(shard.index + 1, shard.count, num_wanted);
  if (!are_named) {
    found.skip = options.skip + begin;
    found.limit = end - begin;
    return found;
  }
  found.skip = options.skip + wanted.places[begin];
  found.limit = wanted.places[end - 1] + 1 - wanted.places[begin];
  found.sample_ids.assign(wanted.ids.begin() + begin, wanted.ids.begin() + end);
  return found;
}

}  // namespace limn
