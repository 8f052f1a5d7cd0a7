// A JSON document that is not trusted: every look at it checks and knows where it is.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace limn {

// A value of a document, with its place. What is not as asked for throws DataError, which names
// the file and the value's key: "llama/tokenizer.json: model.vocab is missing".
// Borrows: the document. Threads: immutable.
class CheckedJson {
 public:
  // `file` stands first in every message.
  CheckedJson(const nlohmann::json& document, std::string file);

  // The values of an object and an array. find() gives nothing where the key is missing or null.
  CheckedJson at(const std::string& key) const;
  std::optional<CheckedJson> find(const std::string& key) const;
  std::vector<CheckedJson> elements() const;

  const std::string& string() const;
  bool boolean() const;
  std::int64_t integer() const;

  // Refuses an object that has a key beyond `known`: it may ask for what limn does not do.
  void allow_keys(std::initializer_list<std::string_view> known) const;

  // Throws DataError: "FILE: KEY PROBLEM: VALUE", the value shortened.
  [[noreturn]] void refuse(std::string_view problem) const;

  // The value itself, for long lists whose elements are checked without a CheckedJson each.
  const nlohmann::json& value() const { return *value_; }

 private:
  CheckedJson(const nlohmann::json& value, std::string file, std::string key);

  CheckedJson inner(const nlohmann::json& value, std::string_view step) const;

  const nlohmann::json* value_;
  std::string file_;
  std::string key_;  // "post_processor.processors[0].type"; empty for the document
};

}  // namespace limn
