// What a part, or a result, holds besides its deltas: for those who count.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "storage/sample_record.h"

namespace limn {

struct PartSample {
  std::int64_t index = 0;  // in the dataset; in a result, in the file
  SampleStatus status = SampleStatus::Ok;
  std::int64_t num_units = 0;
  std::int64_t num_measured_units = 0;  // by the batches of this part
  // Of a sample that is not Ok.
  std::string id;
  std::string message;
};

struct PartContents {
  bool is_complete = false;             // a result rather than a part
  std::vector<std::int64_t> batch_ids;  // of a part
  std::vector<PartSample> samples;      // in file order
};

// The parts of a run, in the order of their names; none where there is no folder of parts. Those
// that are set aside or not whole yet are none. Never throws: what cannot be listed is not there.
std::vector<std::filesystem::path> list_part_files(const std::filesystem::path& run_folder);

// Reads few columns: some ten times as fast as RelevanceReader. Deltas are only read of the parts
// of earlier versions of limn, which do not say how many units they measured.
// Throws as RelevanceReader does.
PartContents read_part_contents(const std::filesystem::path& path);

}  // namespace limn
