#include "coordinator/dealer.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include <fmt/format.h>

#include "coordinator/protocol.h"
#include "storage/error.h"

namespace limn {

namespace {

// How long to wait for a letter before looking whether a stop was asked for.
constexpr auto kPatience = std::chrono::milliseconds(50);

// How long a coordinator that has failed waits for batches that are under way.
constexpr auto kSoon = std::chrono::seconds(2);

// A batch that takes so many times longer than the slowest one before is not computed any more:
// batches are cut to about the same cost.
constexpr double kSlowness = 10;

double seconds_since(std::chrono::steady_clock::time_point time) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - time).count();
}

}  // namespace

Dealer::Dealer(const Mailbox& mailbox, const std::vector<int>& leaders) : mailbox_(mailbox) {
  for (const int rank : leaders)
    leaders_.push_back({.rank = rank});
  num_letters_due_ = std::ssize(leaders_) * kBatchesHeld;
}

// Where there are few batches, the first leader to ask must not get its second one while another
// has none yet.
std::optional<std::size_t> Dealer::next_taker() const {
  const int fewest = std::ranges::min(leaders_, {}, &Leader::num_held).num_held;
  const auto found = std::ranges::find_if(leaders_, [&](const Leader& leader) {
    return leader.num_held == fewest && leader.num_asked_for > 0;
  });
  if (found == leaders_.end()) return std::nullopt;
  return static_cast<std::size_t>(found - leaders_.begin());
}

bool Dealer::has_taker() const {
  return next_taker().has_value();
}

void Dealer::deal(std::vector<std::byte> batch) {
  const auto taker = next_taker();
  check(taker.has_value() && !batch.empty(), "a batch that goes to nobody");
  Leader& leader = leaders_[*taker];
  mailbox_.send(leader.rank, static_cast<int>(LetterTag::ToLeader), std::move(batch));
  if (leader.num_held == 0) leader.begun_at = Clock::now();
  ++leader.num_held;
  --leader.num_asked_for;
  ++num_letters_due_;
}

double Dealer::seconds_to_finish_next() const {
  const auto taker = next_taker();
  check(taker.has_value(), "a batch that goes to nobody");
  return slowest_batch_s_ * (leaders_[*taker].num_held + 1);
}

void Dealer::expect_results(double timeout_s) const {
  if (slowest_batch_s_ == 0) return;
  for (const Leader& leader : leaders_) {
    if (leader.num_held == 0) continue;
    const double waited_s = seconds_since(leader.begun_at);
    if (waited_s <= std::max(timeout_s, kSlowness * slowest_batch_s_)) continue;
    throw InternalError(fmt::format(
        "rank {} has been at a batch for {:.0f} s, the slowest one so far took {:.0f} s: it or a "
        "rank of its group hangs; the same command goes on where this one ended "
        "(parallel.timeout_s "
        "sets the patience)",
        leader.rank,
        waited_s,
        slowest_batch_s_));
  }
}

void Dealer::receive(const std::function<void(std::span<const std::byte>)>& take) {
  auto letter = letter_within(kPatience);
  for (; letter; letter = letter_within(std::chrono::milliseconds(0))) {
    const auto leader = std::ranges::find(leaders_, letter->from, &Leader::rank);
    check(leader != leaders_.end(), "a letter from rank {}, which leads no group", letter->from);
    if (!letter->bytes.empty()) {
      take(letter->bytes);
      --leader->num_held;
      slowest_batch_s_ = std::max(slowest_batch_s_, seconds_since(leader->begun_at));
      leader->begun_at = Clock::now();
    }
    ++leader->num_asked_for;
  }
}

std::optional<Letter> Dealer::letter_within(std::chrono::milliseconds time) {
  auto letter = mailbox_.receive_within(static_cast<int>(LetterTag::ToCoordinator), time);
  if (letter) --num_letters_due_;
  return letter;
}

void Dealer::dismiss() {
  while (num_letters_due_ > 0 && !is_abandoned())
    letter_within(kPatience);
  say_goodbye();
}

bool Dealer::dismiss_soon() {
  const auto start = Clock::now();
  while (num_letters_due_ > 0 && !is_abandoned() && Clock::now() - start < kSoon)
    letter_within(kPatience);
  if (num_letters_due_ > 0 && !is_abandoned()) return false;
  say_goodbye();
  return true;
}

void Dealer::say_goodbye() {
  for (const Leader& leader : leaders_) {
    mailbox_.send(leader.rank, static_cast<int>(LetterTag::ToLeader), {});
  }
}

}  // namespace limn
