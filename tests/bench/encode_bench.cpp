// Encodes the lines of a file on some threads: encode_bench FOLDER FILE THREADS
//
// Writes {"seconds": ..., "tokens": ...}. tests/bench/encode_speed.py compares this with Python.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <fstream>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include "coordinator/tokenizer.h"

namespace {

std::vector<std::string> read_lines(const char* path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);)
    lines.push_back(line);
  return lines;
}

// The number of tokens. All of a thread's lines live as long as its batch, as in Python.
std::int64_t encode_all(
    const limn::Tokenizer& tokenizer, const std::vector<std::string>& lines, int num_threads) {
  constexpr std::size_t kBatch = 64;
  std::atomic<std::size_t> next = 0;
  std::atomic<std::int64_t> num_tokens = 0;
  const auto encode_batches = [&] {
    for (std::size_t begin = next.fetch_add(kBatch); begin < lines.size();
         begin = next.fetch_add(kBatch)) {
      for (std::size_t i = begin; i < std::min(begin + kBatch, lines.size()); ++i) {
        const auto tokens = tokenizer.encode(lines[i], limn::SpecialTokens::Add);
        num_tokens += static_cast<std::int64_t>(tokens.size());
      }
    }
  };
  std::vector<std::jthread> threads;
  for (int i = 0; i < num_threads; ++i)
    threads.emplace_back(encode_batches);
  threads.clear();
  return num_tokens;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: encode_bench FOLDER FILE THREADS\n";
    return 64;
  }
  try {
    const limn::Tokenizer tokenizer = limn::Tokenizer::load(argv[1]);
    const std::vector<std::string> lines = read_lines(argv[2]);
    const auto begin = std::chrono::steady_clock::now();
    const std::int64_t num_tokens = encode_all(tokenizer, lines, std::stoi(argv[3]));
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;
    std::cout << "{\"seconds\": " << time.count() << ", \"tokens\": " << num_tokens << "}\n";
  } catch (const std::exception& error) {
    std::cerr << "encode_bench: " << error.what() << '\n';
    return 65;
  }
  return 0;
}
