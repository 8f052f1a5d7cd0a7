// Encodes lines for tests/python/compare_tokenizers.py: encode_lines FOLDER < LINES
//
// Reads {"text": ...} a line and writes {"ids": [...], "begin": [...], "end": [...]} a line, or
// {"error": ...}; special tokens are added, their characters are -1.
#include <exception>
#include <iostream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "coordinator/tokenizer.h"

namespace {

nlohmann::json encode(const limn::Tokenizer& tokenizer, const std::string& line) {
  try {
    const std::string text = nlohmann::json::parse(line).at("text");
    std::vector<std::int32_t> ids;
    std::vector<std::int32_t> begin;
    std::vector<std::int32_t> end;
    for (const limn::TokenRecord& token : tokenizer.encode(text, limn::SpecialTokens::Add)) {
      ids.push_back(token.id);
      begin.push_back(token.chars.begin);
      end.push_back(token.chars.end);
    }
    return {{"ids", ids}, {"begin", begin}, {"end", end}};
  } catch (const std::exception& error) {
    return {{"error", error.what()}};
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: encode_lines FOLDER < LINES\n";
    return 64;
  }
  try {
    const limn::Tokenizer tokenizer = limn::Tokenizer::load(argv[1]);
    for (std::string line; std::getline(std::cin, line);) {
      std::cout << encode(tokenizer, line).dump() << '\n';
    }
  } catch (const std::exception& error) {
    std::cerr << "encode_lines: " << error.what() << '\n';
    return 65;
  }
  return 0;
}
