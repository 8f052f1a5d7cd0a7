// The members of a zip archive that were stored as they are, found in place.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace limn {

// Borrows: the archive.
struct ZipMember {
  std::string_view name;
  std::span<const std::byte> bytes;
};

// All members in the order of the archive's directory, zip64 included. Checksums are not checked,
// as the members' bytes are not read. Throws DataError, beginning with `where`, when this is no
// archive, when it is damaged or truncated, and for a member that is compressed or encrypted.
std::vector<ZipMember> zip_members(std::span<const std::byte> archive, const std::string& where);

}  // namespace limn
