#include "storage/relevance_attributes.h"

#include <cstdint>
#include <string>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "storage/error.h"
#include "storage/json_file.h"
#include "storage/relevance_format.h"

namespace limn {

namespace {

nlohmann::json header_json(const RelevanceAttributes& attributes) {
  return {
      {"format", kRelevanceFormat},
      {"format_version", kRelevanceFormatVersion},
      {"complete", attributes.complete},
      {"job", attributes.job},
      {"model", attributes.model},
      {"software_version", attributes.software_version},
      {"tensor_parallel", attributes.tensor_parallel},
      {"dtype", attributes.dtype}};
}

void check_format(const std::string& where, const std::string& format) {
  if (format != kRelevanceFormat) {
    throw DataError(fmt::format("{}: format must be {}: {}", where, kRelevanceFormat, format));
  }
}

void check_version(const std::string& where, std::int32_t version) {
  if (version != kRelevanceFormatVersion) {
    throw DataError(fmt::format(
        "{}: format_version must be {}; use the release of limn that wrote the file, or run the "
        "job again with this one: {}",
        where,
        kRelevanceFormatVersion,
        version));
  }
}

RelevanceAttributes read_header(const Hdf5File& file) {
  const std::string where = file.name() + " (header)";
  const nlohmann::json header = parse_json(file.read_text_attribute(kHeaderAttribute), where);
  try {
    check_format(where, header.at("format").get<std::string>());
    check_version(where, header.at("format_version").get<std::int32_t>());
    return {
        .complete = header.at("complete").get<bool>(),
        .job = header.at("job").get<std::string>(),
        .model = header.at("model").get<std::string>(),
        .software_version = header.at("software_version").get<std::string>(),
        .tensor_parallel = header.at("tensor_parallel").get<std::int32_t>(),
        .dtype = header.at("dtype").get<std::string>()};
  } catch (const nlohmann::json::exception& error) {
    throw DataError(
        fmt::format("{}: an attribute is missing or of another type: {}", where, error.what()));
  }
}

// The attributes of a file that another program wrote.
RelevanceAttributes read_plain_attributes(const Hdf5File& file) {
  check_format(file.name(), file.read_text_attribute("format"));
  check_version(file.name(), file.read_integer_attribute("format_version"));
  return {
      .complete = file.read_integer_attribute("complete") != 0,
      .job = file.read_text_attribute("job"),
      .model = file.read_text_attribute("model"),
      .software_version = file.read_text_attribute("software_version"),
      .tensor_parallel = file.read_integer_attribute("tensor_parallel"),
      .dtype = file.read_text_attribute("dtype")};
}

}  // namespace

void write_attributes(Hdf5File& file, const RelevanceAttributes& attributes) {
  file.write_text_attribute("format", kRelevanceFormat);
  file.write_attribute("format_version", kRelevanceFormatVersion);
  file.write_attribute("complete", static_cast<std::uint8_t>(attributes.complete));
  file.write_text_attribute("job", attributes.job);
  file.write_text_attribute("model", attributes.model);
  file.write_text_attribute("software_version", attributes.software_version);
  file.write_attribute("tensor_parallel", attributes.tensor_parallel);
  file.write_text_attribute("dtype", attributes.dtype);
  file.write_fixed_text_attribute(kHeaderAttribute, header_json(attributes).dump());
}

RelevanceAttributes read_attributes(const Hdf5File& file) {
  if (file.has_attribute(kHeaderAttribute)) return read_header(file);
  if (file.has_attribute("format")) return read_plain_attributes(file);
  throw DataError(fmt::format("{}: no relevance file, or one that was not finished", file.name()));
}

}  // namespace limn
