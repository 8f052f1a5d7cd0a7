// Messages from one rank to another.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

namespace limn {

struct Letter {
  int from = 0;
  std::vector<std::byte> bytes;
};

// Point-to-point messages between all ranks, over a communicator of their own, so that they never
// mix with collectives. Letters with one tag from one sender to one receiver arrive in the order
// they were sent. Waiting costs no processor time. Threads: any thread; two threads of a rank
// receive different tags.
class Mailbox {
 public:
  // Collective over all ranks.
  static Mailbox open();
  // Waits until every letter that was sent has been received.
  ~Mailbox();
  Mailbox(Mailbox&&) noexcept;
  Mailbox& operator=(Mailbox&&) noexcept;

  // Takes the letter and returns at once, so that two ranks may write to each other at the same
  // time. A large one travels when its receiver is ready. Requires: less than 2 GiB; tag >= 0.
  void send(int to, int tag, std::vector<std::byte> bytes) const;

  // A letter with this tag from anyone, if one has arrived.
  std::optional<Letter> try_receive(int tag) const;

  // Waits for one.
  Letter receive(int tag) const;

  // Waits for one, but not longer than this.
  std::optional<Letter> receive_within(int tag, std::chrono::milliseconds time) const;

 private:
  class Impl;
  explicit Mailbox(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace limn
