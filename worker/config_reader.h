// A config.json whose keys are checked as they are read.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace limn {

// In config.json a key that is null counts as absent. Every function throws DataError naming the
// file and the key. Borrows: the JSON. Threads: immutable.
class ConfigReader {
 public:
  // `file` is for messages; `prefix` is that of nested objects ("rope_scaling.").
  ConfigReader(const nlohmann::json& object, std::string file, std::string prefix = "")
      : object_(object),
        file_(std::move(file)),
        prefix_(std::move(prefix)) {}

  bool has(std::string_view key) const { return find(key) != nullptr; }

  // Whether the key is there and null, which to some families is not the same as absent.
  bool is_null(std::string_view key) const;

  // A number of at least 1.
  std::int64_t size(std::string_view key) const;
  std::int64_t size_or(std::string_view key, std::int64_t absent) const;

  // A finite number greater than 0.
  double positive(std::string_view key) const;
  double positive_or(std::string_view key, double absent) const;

  // A whole number of at least 0.
  std::int64_t count_or(std::string_view key, std::int64_t absent) const;

  bool flag_or(std::string_view key, bool absent) const;
  std::string text_or(std::string_view key, std::string_view absent) const;

  // A list of numbers, of strings, of whole numbers; empty when it is absent.
  std::vector<double> numbers(std::string_view key) const;
  std::vector<std::string> texts(std::string_view key) const;
  std::vector<std::int64_t> counts(std::string_view key) const;

  // The first of these keys that is there; the first of all if none is.
  std::string_view spelling(std::initializer_list<std::string_view> keys) const;

  // A nested object, nothing when it is absent.
  std::optional<ConfigReader> object(std::string_view key) const;

  // Throws DataError: "FILE: KEY <complaint>".
  [[noreturn]] void refuse(std::string_view key, std::string_view complaint) const;

 private:
  const nlohmann::json* find(std::string_view key) const;

  const nlohmann::json& object_;
  std::string file_;
  std::string prefix_;
};

}  // namespace limn
