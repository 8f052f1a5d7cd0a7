// The sealed parts of a run as files: their names, what they hold, and whether they are whole.
// Private to storage.
//
//   parts/part-EEEEEE-NNNNNN.h5       sealed by epoch E; N counts the parts of the run
//   parts/part-EEEEEE-NNNNNN.h5.xxh3  its checksum
//   parts/damaged-*, parts/superseded-*  set aside: nobody reads them
#pragma once

#include <compare>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "storage/relevance_file.h"

namespace limn {

// Earlier releases of limn knew no epochs: part-NNNNNN.h5, which counts as epoch 0.
struct PartName {
  std::int64_t epoch = 0;
  std::int64_t number = 0;

  auto operator<=>(const PartName&) const = default;
};

// "part-000002-000041.h5".
std::string file_name(const PartName& name);

// The name that the file has; nothing if it has none of a part.
std::optional<PartName> part_name(const std::filesystem::path& path);

// A sealed part that was found whole, or was sealed by this process.
struct SealedPart {
  std::filesystem::path path;
  std::vector<PartBatch> batches;
};

// What is in the folder of the parts.
struct PartListing {
  std::vector<std::filesystem::path> parts;  // in the order of their names
  // Parts that are not there any more, but whose checksums are.
  std::vector<std::filesystem::path> missing;
  std::int64_t next_number = 0;  // higher than any that was ever used
};

// Throws IoError.
PartListing list_parts(const std::filesystem::path& folder);

// Reads the part whole and compares it with its checksum; where there is none, as a run that was
// killed between the two leaves it, all that HDF5's own checksums cover is read and a checksum is
// kept from now on. What it holds, or why it is not whole.
struct PartInspection {
  SealedPart part;
  std::optional<std::string> damage;
};

// Throws IoError when that is not the part's fault.
PartInspection inspect_part(const std::filesystem::path& path);

// Renames the file, and its checksum if there is one, to WHY-NAME in the same folder; what was set
// aside under that name before is kept. The new path. Throws IoError.
std::filesystem::path set_file_aside(const std::filesystem::path& path, const std::string& why);

}  // namespace limn
