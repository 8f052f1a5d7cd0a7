// Records with several alternative targets for one prompt.
#pragma once

#include <vector>

#include "coordinator/dataset.h"

namespace limn {

// One record for each of the record's alternative targets, in their order, with the ids "ID#0",
// "ID#1" and so on; the record itself where it has one target. Each is explained as a sample of its
// own.
std::vector<DatasetRecord> single_target_records(DatasetRecord record);

}  // namespace limn
