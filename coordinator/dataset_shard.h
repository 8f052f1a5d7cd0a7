// Shards of a dataset: ranges of its records that jobs explain apart from each other.
#pragma once

#include "coordinator/job.h"

namespace limn {

// Says where the shard lies: the same options, data.shard being the whole and data.skip, data.limit
// and data.sample_ids those that leave the shard's records. Reads through the dataset once, without
// looking into the records unless data.sample_ids names some; one that is not cut is not read.
//
// All shards together have every record once, in the dataset's order. Shard I of N begins with
// record floor(I T / N) of the T that skip, limit and sample_ids leave.
//
// Throws DataError when there are fewer records than shards, or none has an id of data.sample_ids;
// and what DatasetReader throws.
DataOptions find_shard(const DataOptions& options);

}  // namespace limn
