// The root attributes of a relevance file. Private to storage.
#pragma once

#include "storage/hdf5_handle.h"
#include "storage/relevance_file.h"

namespace limn {

// They make it a relevance file: write them last. Throws IoError.
void write_attributes(Hdf5File& file, const RelevanceAttributes& attributes);

// Throws DataError when it is no relevance file, was not finished, or is of another format version.
RelevanceAttributes read_attributes(const Hdf5File& file);

}  // namespace limn
