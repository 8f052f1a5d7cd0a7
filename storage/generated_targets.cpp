#include "storage/generated_targets.h"

#include <fcntl.h>

#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "storage/error.h"
#include "storage/fingerprint.h"

namespace limn {

namespace {

using nlohmann::json;

constexpr const char* kChecksumKey = "xxh3";

std::string text_of(const nlohmann::ordered_json& document) {
  // A token may be a part of a character.
  return document.dump(-1, ' ', /*ensure_ascii=*/false, json::error_handler_t::replace);
}

nlohmann::ordered_json document_of(const GeneratedTargetLine& line) {
  return {{"record", line.record_index}, {"target_ids", line.target_ids}, {"target", line.target}};
}

// Of the line as it is without the checksum, for a digit that flips is still a digit.
std::string checksum_of(const GeneratedTargetLine& line) {
  Fingerprint fingerprint;
  fingerprint.add(text_of(document_of(line)));
  return fmt::format("{:016x}", static_cast<std::uint64_t>(fingerprint.number()));
}

std::string line_of(const GeneratedTargetLine& line) {
  nlohmann::ordered_json document = document_of(line);
  document[kChecksumKey] = checksum_of(line);
  return text_of(document) + "\n";
}

// Nothing where it is not what was written. Lines of earlier releases have no checksum.
std::optional<GeneratedTargetLine> parse_line(const std::string& text) {
  try {
    const json document = json::parse(text);
    GeneratedTargetLine line{
        .record_index = document.at("record").get<std::int64_t>(),
        .target_ids = document.at("target_ids").get<std::vector<std::int32_t>>(),
        .target = document.at("target").get<std::string>()};
    const bool has_checksum = document.size() > 3;
    if (has_checksum && document.at(kChecksumKey) != checksum_of(line)) return std::nullopt;
    return line;
  } catch (const json::exception&) {
    return std::nullopt;
  }
}

}  // namespace

std::filesystem::path generated_targets_path(const std::filesystem::path& run_folder) {
  return run_folder / "targets.jsonl";
}

GeneratedTargetsReader::GeneratedTargetsReader(const std::filesystem::path& path)
    : path_(path),
      file_(path, std::ios::binary) {
  if (!file_ && std::filesystem::exists(path)) throw_errno(path, "cannot be opened");
}

std::optional<GeneratedTargetLine> GeneratedTargetsReader::next() {
  std::string text;
  // Without a line end it is what a writer was at when it was killed.
  if (!std::getline(file_, text) || file_.eof()) {
    if (file_.bad()) throw_errno(path_, "cannot be read");
    return std::nullopt;
  }
  ++line_number_;
  offset_ += static_cast<std::int64_t>(text.size()) + 1;
  if (auto line = parse_line(text)) return line;
  throw DataError(fmt::format(
      "{}:{}: is damaged; put the file back as limn wrote it, or remove it, and the model answers "
      "again",
      path_.string(),
      line_number_));
}

GeneratedTargetsWriter::GeneratedTargetsWriter(
    const std::filesystem::path& path, std::int64_t offset)
    : path_(path),
      file_(path, O_WRONLY | O_CREAT),
      offset_(offset) {
  truncate(file_, path_, offset_);
  sync(file_, path_);
  sync_folder(path_.has_parent_path() ? path_.parent_path() : std::filesystem::path("."));
}

void GeneratedTargetsWriter::append(std::span<const GeneratedTargetLine> lines) {
  std::string text;
  for (const GeneratedTargetLine& line : lines)
    text += line_of(line);
  write_at(file_, path_, offset_, text);
  sync(file_, path_);
  offset_ += static_cast<std::int64_t>(text.size());
}

}  // namespace limn
