// JSON files as checked input.
#pragma once

#include <filesystem>

#include <nlohmann/json.hpp>

namespace limn {

// Reads a whole JSON file. Throws IoError when it is missing or unreadable, DataError naming the
// file, line and column when it is not JSON.
nlohmann::json read_json(const std::filesystem::path& path);

}  // namespace limn
