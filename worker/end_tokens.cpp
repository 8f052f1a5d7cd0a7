#include "worker/end_tokens.h"

#include <optional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "storage/error.h"
#include "storage/json_file.h"

namespace limn {

namespace {

using nlohmann::json;
using Tokens = std::vector<std::int32_t>;

[[noreturn]] void refuse(const std::filesystem::path& path, const json& value) {
  throw DataError(fmt::format(
      "{}: eos_token_id must be a token id or a list of them: {}", path.string(), value.dump()));
}

std::int32_t token_of(const std::filesystem::path& path, const json& value) {
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() > INT32_MAX) refuse(path, value);
  return value.get<std::int32_t>();
}

// Nothing where the file or its key is missing or null.
std::optional<Tokens> end_tokens_of(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) return std::nullopt;
  const json config = read_json(path);
  if (!config.is_object()) return std::nullopt;
  const auto found = config.find("eos_token_id");
  if (found == config.end() || found->is_null()) return std::nullopt;
  if (!found->is_array()) return Tokens{token_of(path, *found)};
  Tokens tokens;
  for (const json& value : *found)
    tokens.push_back(token_of(path, value));
  return tokens;
}

}  // namespace

Tokens read_end_tokens(const std::filesystem::path& model_folder) {
  if (auto tokens = end_tokens_of(model_folder / "generation_config.json")) return *tokens;
  return end_tokens_of(model_folder / "config.json").value_or(Tokens());
}

}  // namespace limn
