// safetensors files made by hand.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace limn::test {

inline std::string little_endian(std::uint64_t value) {
  std::string bytes;
  for (int i = 0; i < 8; ++i)
    bytes.push_back(static_cast<char>(value >> (8 * i)));
  return bytes;
}

// A file of this header, whatever it says, and this data.
inline std::string safetensors(const std::string& header, std::string_view data) {
  return little_endian(header.size()) + header + std::string(data);
}

// What a header says about one tensor.
inline std::string safetensors_entry(
    std::string_view dtype, std::string_view shape, std::int64_t begin, std::int64_t end) {
  return fmt::format(
      R"({{"dtype":"{}","shape":{},"data_offsets":[{},{}]}})", dtype, shape, begin, end);
}

struct FloatTensor {
  std::string name;
  std::vector<std::int64_t> shape;
  std::vector<float> values;
};

// A whole file of float32 tensors, whose data begins at the file's byte `alignment` modulo 8.
inline std::string safetensors(const std::vector<FloatTensor>& tensors, std::size_t alignment = 0) {
  std::vector<std::string> entries;
  std::string data;
  for (const FloatTensor& tensor : tensors) {
    const std::size_t begin = data.size();
    data.append(
        reinterpret_cast<const char*>(tensor.values.data()), tensor.values.size() * sizeof(float));
    entries.push_back(fmt::format(
        "\"{}\":{}",
        tensor.name,
        safetensors_entry(
            "F32",
            fmt::format("[{}]", fmt::join(tensor.shape, ",")),
            static_cast<std::int64_t>(begin),
            static_cast<std::int64_t>(data.size()))));
  }
  std::string header = fmt::format("{{{}}}", fmt::join(entries, ","));
  while (header.size() % 8 != alignment)
    header.push_back(' ');
  return safetensors(header, data);
}

}  // namespace limn::test
