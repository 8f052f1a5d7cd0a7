#include "storage/nearest_name.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace limn {

namespace {

std::string folded(std::string_view name) {
  std::string result(name);
  for (char& letter : result) {
    if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
    if (letter == '-') letter = '_';
  }
  return result;
}

// The optimal string alignment distance: Levenshtein's with neighbours swapped for the price of
// one.
std::int64_t num_slips(std::string_view a, std::string_view b) {
  // Row i holds the distances of a's first i letters to every beginning of b.
  std::vector<std::int64_t> two_rows_up(b.size() + 1);
  std::vector<std::int64_t> row_above(b.size() + 1);
  std::vector<std::int64_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j)
    row[j] = static_cast<std::int64_t>(j);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::swap(two_rows_up, row_above);
    std::swap(row_above, row);
    row[0] = static_cast<std::int64_t>(i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::int64_t replaced = row_above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({replaced, row_above[j] + 1, row[j - 1] + 1});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], two_rows_up[j - 2] + 1);
    }
  }
  return row.back();
}

}  // namespace

std::optional<std::string_view> nearest_name(
    std::string_view name, std::span<const std::string_view> candidates) {
  const std::string wanted = folded(name);
  std::optional<std::string_view> nearest;
  std::int64_t fewest_slips = 0;
  for (const std::string_view candidate : candidates) {
    const std::int64_t slips = num_slips(wanted, folded(candidate));
    const auto longer = static_cast<std::int64_t>(std::max(name.size(), candidate.size()));
    if (3 * slips > longer || (nearest && slips >= fewest_slips)) continue;
    nearest = candidate;
    fewest_slips = slips;
  }
  return nearest;
}

}  // namespace limn
