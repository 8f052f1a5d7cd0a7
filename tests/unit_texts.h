// The units of a sample as a person reads them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/code_points.h"
#include "storage/sample_record.h"

namespace limn::test {

inline std::string slice(std::string_view text, CharRange range) {
  const auto offsets = code_point_offsets(text);
  return std::string(
      text.substr(offsets.at(range.begin), offsets.at(range.end) - offsets.at(range.begin)));
}

inline std::vector<std::string> unit_texts(const SampleRecord& record) {
  std::vector<std::string> texts;
  for (const UnitRecord& unit : record.units)
    texts.push_back(slice(record.text, unit.chars));
  return texts;
}

inline std::vector<std::vector<std::int32_t>> unit_tokens(const SampleRecord& record) {
  std::vector<std::vector<std::int32_t>> lists;
  for (const UnitRecord& unit : record.units)
    lists.push_back(unit.tokens);
  return lists;
}

}  // namespace limn::test
