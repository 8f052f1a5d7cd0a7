#include "launch/result_path.h"

#include <algorithm>

#include <fmt/format.h>

#include "storage/error.h"

namespace limn {

namespace {

bool has_parts(const std::filesystem::path& run) {
  const std::filesystem::path parts = run / "parts";
  if (!std::filesystem::is_directory(parts)) return false;
  const std::filesystem::directory_iterator entries(parts);
  return std::any_of(begin(entries), end(entries), [](const auto& entry) {
    return entry.path().extension() == ".h5";
  });
}

}  // namespace

std::filesystem::path find_result(const std::filesystem::path& path) {
  if (!std::filesystem::is_directory(path)) return path;
  std::filesystem::path result = path / "relevance.h5";
  if (std::filesystem::exists(result)) return result;
  if (has_parts(path)) {
    throw DataError(
        fmt::format("{}: not complete yet; run the same job again to finish it", path.string()));
  }
  throw DataError(fmt::format("{}: neither a run directory nor a relevance file", path.string()));
}

}  // namespace limn
