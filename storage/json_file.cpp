#include "storage/json_file.h"

#include <algorithm>
#include <string>

#include <fmt/format.h>

#include "storage/error.h"
#include "storage/mapped_file.h"

namespace limn {

namespace {

// "7:12", the line and column of a byte, both counted from 1.
std::string line_and_column(std::string_view text, std::size_t byte) {
  const std::string_view before = text.substr(0, std::min(byte, text.size()));
  const auto line = std::count(before.begin(), before.end(), '\n') + 1;
  const std::size_t line_begin = before.rfind('\n') + 1;  // npos + 1 is 0: the first line
  return fmt::format("{}:{}", line, before.size() - line_begin + 1);
}

// What nlohmann says of a syntax error, without its own numbering and place.
std::string_view reason(const nlohmann::json::exception& error) {
  const std::string_view message = error.what();
  const std::size_t place_end = message.find(": ");
  return place_end == std::string_view::npos ? message : message.substr(place_end + 2);
}

}  // namespace

nlohmann::json read_json(const std::filesystem::path& path) {
  const MappedFile file(path);
  const std::string_view text(
      reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  return parse_json(text, path.string());
}

std::string complaint_of(const nlohmann::json::exception& error) {
  std::string complaint = error.what();
  complaint.erase(0, complaint.find("] ") + 2);
  return complaint.substr(0, complaint.find("; last read"));
}

nlohmann::json parse_json(
    std::string_view text,
    std::string_view where,
    const nlohmann::json::parser_callback_t& callback) {
  try {
    return nlohmann::json::parse(text, callback);
  } catch (const nlohmann::json::parse_error& error) {
    // `byte` counts the characters read, the offending one included.
    const std::size_t byte = error.byte == 0 ? 0 : error.byte - 1;
    throw DataError(
        fmt::format("{}:{}: is not JSON: {}", where, line_and_column(text, byte), reason(error)));
  } catch (const nlohmann::json::exception& error) {
    throw DataError(fmt::format("{}: is not JSON: {}", where, reason(error)));
  }
}

}  // namespace limn
