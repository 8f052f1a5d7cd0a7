// Refuses a record of the dataset, naming its place.
#pragma once

#include <fmt/format.h>

#include "coordinator/dataset.h"
#include "storage/error.h"

namespace limn {

// Throws DataError: the record's place, and what is wrong with it.
template <typename... Args>
[[noreturn]] void refuse(
    const DatasetRecord& record, fmt::format_string<Args...> text, const Args&... values) {
  throw DataError(
      fmt::format("{}: {}", record.where, fmt::vformat(text, fmt::make_format_args(values...))));
}

}  // namespace limn
