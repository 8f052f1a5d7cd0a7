// Checksums of whole files, in a file of their own beside them: any bit that flips is noticed,
// where HDF5's own checksums leave out what nothing uses.
//
//   part-000001-000000.h5.xxh3: "<32 hexadecimal digits>  part-000001-000000.h5\n"
//
// The text is what `xxh128sum` writes and `xxh128sum --check` reads. Private to storage.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace limn {

// NAME.xxh3.
std::filesystem::path checksum_path(const std::filesystem::path& file);

// Whether it is named like the checksum of a file.
bool is_checksum(const std::filesystem::path& path);

// Reads the whole file and keeps its checksum: the end of the process does not take it away, a loss
// of power may. Throws IoError.
void write_checksum(const std::filesystem::path& file);

// Whether a checksum of the file is kept, and readable as one.
bool has_checksum(const std::filesystem::path& file);

// Reads the whole file. Why it is not what the kept checksum was made of: it cannot be read, or is
// another. Nothing if it is the same. Requires: has_checksum(). Throws IoError when this process,
// not the file, lacks something: memory, descriptors.
std::optional<std::string> damage_by_checksum(const std::filesystem::path& file);

}  // namespace limn
