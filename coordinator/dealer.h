// Deals batches out to the leaders of the groups and takes in their results.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "sharding/mailbox.h"

namespace limn {

// Dynamically: a group that is faster gets more, and none gets a second batch to hold while another
// has none. Borrows: the mailbox. Threads: one thread, which alone receives
// LetterTag::ToCoordinator; but for abandon(), which any thread may call.
class Dealer {
 public:
  Dealer(const Mailbox& mailbox, const std::vector<int>& leaders);

  // Whether a leader waits to whom the next batch may go.
  bool has_taker() const;

  // Sends it there. Requires: has_taker(); `batch` is not empty.
  void deal(std::vector<std::byte> batch);

  // How long it would take until a batch that is dealt now is done, from the slowest one so far: 0
  // while none is done. Requires: has_taker().
  double seconds_to_finish_next() const;

  // Throws InternalError, naming the rank, when one has been at a batch for longer than both
  // `timeout_s` and ten times the slowest batch so far: it, or a partner of its, hangs.
  void expect_results(double timeout_s) const;

  // Takes in all letters that have arrived, waiting some moments for the first one: calls
  // take(bytes) for each result.
  void receive(const std::function<void(std::span<const std::byte>)>& take);

  // Tells the leaders that there are no more batches, after opening every letter that is due:
  // unopened, its sender would wait for that at its end, and Open MPI 4 was seen to deliver it to
  // the next communicator. Does not wait for letters once abandoned.
  void dismiss();

  // The same if the letters come within some seconds; else does nothing and returns false. For a
  // coordinator that has failed: what leaders are computing is lost anyway.
  bool dismiss_soon();

  // From now on nobody waits for a leader. Any thread.
  void abandon() { abandoned_.store(true); }

  bool is_abandoned() const { return abandoned_.load(); }

 private:
  using Clock = std::chrono::steady_clock;

  // What a leader has, and still wants.
  struct Leader {
    int rank = 0;
    int num_held = 0;            // batches without a result
    int num_asked_for = 0;       // batches more
    Clock::time_point begun_at;  // of the first of those that it holds
  };

  std::optional<std::size_t> next_taker() const;
  std::optional<Letter> letter_within(std::chrono::milliseconds time);
  void say_goodbye();

  const Mailbox& mailbox_;
  std::vector<Leader> leaders_;
  // That leaders have yet to send: for every batch a result, before the first ones a word that they
  // are ready.
  std::int64_t num_letters_due_ = 0;
  double slowest_batch_s_ = 0;
  std::atomic<bool> abandoned_ = false;
};

}  // namespace limn
