// What an error says.
#pragma once

#include <functional>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace limn::test {

// The message of the Expected that `act` throws; fails the test when it throws none.
template <typename Expected>
std::string message_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const Expected& error) {
    return error.what();
  }
  ADD_FAILURE() << "did not throw";
  return "";
}

// Bytes with one to four bits flipped, or with the end cut off: what disks and networks do.
template <typename Random>
std::string damaged(std::string bytes, Random& random) {
  if (random() % 4 == 0) return bytes.substr(0, random() % bytes.size());
  for (auto flips = random() % 4 + 1; flips > 0; --flips) {
    bytes[random() % bytes.size()] ^= static_cast<char>(1 << random() % 8);
  }
  return bytes;
}

}  // namespace limn::test
