#include "storage/part_files.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>
#include <system_error>

#include <fmt/format.h>

#include "storage/durable_file.h"
#include "storage/error.h"
#include "storage/file_checksum.h"

namespace limn {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "part-";
constexpr std::string_view kSuffix = ".h5";

std::optional<std::int64_t> number_of(std::string_view digits) {
  std::int64_t number = 0;
  const char* const end = digits.data() + digits.size();
  const auto [parsed_end, error] = std::from_chars(digits.data(), end, number);
  if (digits.empty() || error != std::errc() || parsed_end != end || number < 0)
    return std::nullopt;
  return number;
}

// Where in the name of anything that was a part once its own name begins.
std::optional<PartName> part_name_within(const fs::path& path) {
  std::string name = path.filename().string();
  if (const auto begin = name.find(kPrefix); begin != std::string::npos) name.erase(0, begin);
  if (const auto end = name.find(kSuffix); end != std::string::npos)
    name.erase(end + kSuffix.size());
  return part_name(name);
}

// All that a reader would read of it.
void read_everything(const fs::path& path) {
  const RelevanceReader reader(path);
  for (std::int64_t sample = 0; sample < reader.num_samples(); ++sample)
    reader.read(sample);
  reader.sample_ids();
}

}  // namespace

std::string file_name(const PartName& name) {
  return fmt::format("{}{:06}-{:06}{}", kPrefix, name.epoch, name.number, kSuffix);
}

std::optional<PartName> part_name(const fs::path& path) {
  const std::string name = path.filename().string();
  if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) return std::nullopt;
  const std::string_view digits =
      std::string_view(name).substr(kPrefix.size(), name.size() - kPrefix.size() - kSuffix.size());
  const auto hyphen = digits.find('-');
  if (hyphen == std::string_view::npos) {
    const auto number = number_of(digits);
    if (!number) return std::nullopt;
    return PartName{.epoch = 0, .number = *number};
  }
  const auto epoch = number_of(digits.substr(0, hyphen));
  const auto number = number_of(digits.substr(hyphen + 1));
  if (!epoch || !number) return std::nullopt;
  return PartName{.epoch = *epoch, .number = *number};
}

PartListing list_parts(const fs::path& folder) {
  PartListing listing;
  for (const fs::path& path : list_folder(folder)) {
    if (const auto any = part_name_within(path))
      listing.next_number = std::max(listing.next_number, any->number + 1);
    if (part_name(path)) listing.parts.push_back(path);
    if (!is_checksum(path)) continue;
    const fs::path part = path.parent_path() / path.stem();
    std::error_code unreadable;
    if (part_name(part) && !fs::exists(fs::symlink_status(part, unreadable)))
      listing.missing.push_back(part);
  }
  std::ranges::sort(listing.parts, {}, [](const fs::path& path) { return *part_name(path); });
  return listing;
}

PartInspection inspect_part(const fs::path& path) {
  PartInspection inspection{.part = {.path = path, .batches = {}}, .damage = {}};
  const bool is_checked = has_checksum(path);
  if (is_checked) inspection.damage = damage_by_checksum(path);
  if (inspection.damage) return inspection;
  try {
    if (!is_checked) read_everything(path);
    inspection.part.batches = RelevanceReader(path).part_batches();
  } catch (const DataError& error) {
    inspection.damage = error.what();
    return inspection;
  } catch (const IoError& error) {
    // What could be read a moment ago lacks nothing itself.
    if (is_checked) throw;
    inspection.damage = error.what();
    return inspection;
  }
  if (!is_checked) write_checksum(path);
  return inspection;
}

fs::path set_file_aside(const fs::path& path, const std::string& why) {
  const std::string name = path.filename().string();
  fs::path aside = path.parent_path() / fmt::format("{}-{}", why, name);
  std::error_code unreadable;
  for (int i = 2; fs::exists(fs::symlink_status(aside, unreadable)); ++i)
    aside = path.parent_path() / fmt::format("{}-{}-{}", why, i, name);
  rename_durably(path, aside);
  if (fs::exists(checksum_path(path), unreadable))
    rename_durably(checksum_path(path), checksum_path(aside));
  return aside;
}

}  // namespace limn
