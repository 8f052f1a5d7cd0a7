// JSON files as checked input.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace limn {

// Reads a whole JSON file. Throws IoError when it is missing or unreadable, DataError naming the
// file, line and column when it is not JSON.
nlohmann::json read_json(const std::filesystem::path& path);

// What nlohmann's parser complains about, without its own name and without quoting the input, which
// may be a whole book on one line.
std::string complaint_of(const nlohmann::json::exception& error);

// Parses a JSON text; `where` names it in messages. `callback` sees every event, as nlohmann
// describes. Throws DataError as read_json().
nlohmann::json parse_json(
    std::string_view text,
    std::string_view where,
    const nlohmann::json::parser_callback_t& callback = nullptr);

}  // namespace limn
