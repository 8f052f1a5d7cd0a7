#include "storage/run_manifest.h"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "storage/durable_file.h"
#include "storage/error.h"
#include "storage/fingerprint.h"
#include "storage/json_file.h"

namespace limn {

namespace {

using nlohmann::json;

constexpr const char* kRunFormat = "limn.run";
constexpr std::int32_t kRunFormatVersion = 2;

// The version before had neither these keys of the fingerprint, nor a checksum, files of the
// dataset and who began the run.
constexpr std::int32_t kEarlierVersion = 1;
constexpr std::array kKeysOfThisVersion = {"tokenizer", "weights"};

constexpr const char* kChecksumKey = "xxh3";

json attributes_json(const RelevanceAttributes& attributes) {
  return {
      {"job", attributes.job},
      {"model", attributes.model},
      {"software_version", attributes.software_version},
      {"tensor_parallel", attributes.tensor_parallel},
      {"dtype", attributes.dtype}};
}

RelevanceAttributes attributes_from(const json& attributes) {
  return {
      .complete = false,
      .job = attributes.at("job").get<std::string>(),
      .model = attributes.at("model").get<std::string>(),
      .software_version = attributes.at("software_version").get<std::string>(),
      .tensor_parallel = attributes.at("tensor_parallel").get<std::int32_t>(),
      .dtype = attributes.at("dtype").get<std::string>()};
}

json files_json(std::span<const DatasetFileContent> files) {
  json list = json::array();
  for (const DatasetFileContent& file : files) {
    list.push_back({{"name", file.name}, {"bytes", file.bytes}, {"fingerprint", file.fingerprint}});
  }
  return list;
}

std::vector<DatasetFileContent> files_from(const json& list) {
  std::vector<DatasetFileContent> files;
  for (const json& file : list) {
    files.push_back(
        {.name = file.at("name").get<std::string>(),
         .bytes = file.at("bytes").get<std::int64_t>(),
         .fingerprint = file.at("fingerprint").get<std::string>()});
  }
  return files;
}

json owner_json(const RunOwner& owner) {
  return {
      {"host", owner.host},
      {"job_id", owner.job_id},
      {"process", owner.process},
      {"epoch", owner.epoch},
      {"started", owner.started}};
}

RunOwner owner_from(const json& owner) {
  return {
      .host = owner.at("host").get<std::string>(),
      .job_id = owner.at("job_id").get<std::string>(),
      .process = owner.at("process").get<std::int64_t>(),
      .epoch = owner.at("epoch").get<std::int64_t>(),
      .started = owner.at("started").get<std::string>()};
}

// Of the whole document but for itself, as it is written without white space.
std::string checksum_of(json document) {
  document.erase(kChecksumKey);
  Fingerprint fingerprint;
  fingerprint.add(document.dump(-1, ' ', false, json::error_handler_t::replace));
  return fingerprint.text();
}

[[noreturn]] void refuse_damaged(const std::filesystem::path& path, std::string_view why) {
  throw DataError(fmt::format(
      "{}: is damaged; put the file back as limn wrote it, or start anew with --fresh, which keeps "
      "what is there: {}",
      path.string(),
      why));
}

json read_document(const std::filesystem::path& path) {
  try {
    return read_json(path);
  } catch (const DataError& error) {
    refuse_damaged(path, error.what());
  }
}

void check_version(const std::filesystem::path& path, const json& document) {
  if (document.at("format") != kRunFormat)
    throw DataError(fmt::format("{}: format must be {}", path.string(), kRunFormat));
  const json& version = document.at("format_version");
  if (version == kRunFormatVersion || version == kEarlierVersion) return;
  throw DataError(fmt::format(
      "{}: format_version must be {}; go on with the release of limn that began the run, or "
      "choose another output.path: {}",
      path.string(),
      kRunFormatVersion,
      version.dump()));
}

RunManifest manifest_from(const json& document) {
  RunManifest manifest;
  manifest.fingerprint = document.at("fingerprint").get<std::map<std::string, std::string>>();
  manifest.attributes = attributes_from(document.at("attributes"));
  if (document.at("format_version") == kEarlierVersion) return manifest;
  manifest.dataset_files = files_from(document.at("dataset_files"));
  manifest.begun = owner_from(document.at("begun"));
  return manifest;
}

}  // namespace

void write_manifest(const std::filesystem::path& path, const RunManifest& manifest) {
  json document = {
      {"format", kRunFormat},
      {"format_version", kRunFormatVersion},
      {"fingerprint", manifest.fingerprint},
      {"dataset_files", files_json(manifest.dataset_files)},
      {"attributes", attributes_json(manifest.attributes)},
      {"begun", owner_json(manifest.begun)}};
  document[kChecksumKey] = checksum_of(document);
  write_durably(path, document.dump(2, ' ', false, json::error_handler_t::replace) + "\n");
}

RunManifest read_manifest(const std::filesystem::path& path, const RunManifest& now) {
  const json document = read_document(path);
  try {
    check_version(path, document);
    const bool is_earlier = document.at("format_version") == kEarlierVersion;
    if (!is_earlier && document.at(kChecksumKey) != checksum_of(document))
      refuse_damaged(path, "its checksum is another");
    RunManifest manifest = manifest_from(document);
    if (!is_earlier) return manifest;
    for (const char* key : kKeysOfThisVersion) {
      const auto found = now.fingerprint.find(key);
      if (found != now.fingerprint.end()) manifest.fingerprint.insert(*found);
    }
    return manifest;
  } catch (const json::exception& error) {
    refuse_damaged(path, complaint_of(error));
  }
}

std::optional<std::string> first_difference(const RunManifest& left, const RunManifest& right) {
  const auto& a = left.fingerprint;
  const auto& b = right.fingerprint;
  const auto [in_a, in_b] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  if (in_a == a.end() && in_b == b.end()) return std::nullopt;
  if (in_a == a.end()) return in_b->first;
  if (in_b == b.end()) return in_a->first;
  return std::min(in_a->first, in_b->first);
}

std::string value_or_none(const RunManifest& manifest, const std::string& key) {
  const auto found = manifest.fingerprint.find(key);
  return found == manifest.fingerprint.end() ? "none" : found->second;
}

}  // namespace limn
