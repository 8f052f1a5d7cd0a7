#include "coordinator/target_alternatives.h"

#include <cstddef>
#include <utility>

#include <fmt/format.h>

namespace limn {

std::vector<DatasetRecord> single_target_records(DatasetRecord record) {
  if (!record.targets && !record.targets_ids) return {std::move(record)};
  const auto texts = std::exchange(record.targets, std::nullopt);
  const auto id_lists = std::exchange(record.targets_ids, std::nullopt);
  const std::size_t count = texts ? texts->size() : id_lists->size();
  std::vector<DatasetRecord> records(count, record);
  for (std::size_t i = 0; i < count; ++i) {
    records[i].id = fmt::format("{}#{}", record.id, i);
    if (texts) {
      records[i].target = (*texts)[i];
    } else {
      records[i].target_ids = (*id_lists)[i];
    }
  }
  return records;
}

}  // namespace limn
